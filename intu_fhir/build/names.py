"""Person names (PS3.5 6.2.1) as FHIR HumanName and as text to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from intu_fhir.build.datatypes import clean_text

REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
_REPRESENTATIONS = ("ABC", "IDE", "SYL")


@dataclass(frozen=True, slots=True)
class PersonName:
    """One component group of a person name.

    Args:
        representation: ``ABC`` alphabetic, ``IDE`` ideographic or ``SYL`` phonetic.
    """

    representation: str
    family: str = ""
    given: str = ""
    middle: str = ""
    prefix: str = ""
    suffix: str = ""

    @property
    def text(self) -> str:
        """The name as people write it, in the order its script has."""
        if self.representation == "ABC":
            parts = (self.prefix, self.given, self.middle, self.family, self.suffix)
        else:
            parts = (self.family, self.given, self.middle, "", "")
        return " ".join(part for part in parts if part)

    def human_name(self) -> dict[str, Any]:
        """Return the FHIR HumanName without empty parts."""
        name: dict[str, Any] = {
            "extension": [{"url": REPRESENTATION, "valueCode": self.representation}],
            "text": self.text,
            "family": self.family,
            "given": [part for part in (self.given, self.middle) if part],
            "prefix": [self.prefix] if self.prefix else [],
            "suffix": [self.suffix] if self.suffix else [],
        }
        return {key: value for key, value in name.items() if value}


def persons(raw: str) -> list[tuple[PersonName, ...]]:
    """Return the groups of each person that a value names; empty and damaged ones are left out."""
    found = (name_groups(one) for one in raw.split("\\"))
    return [groups for groups in found if groups]


def name_groups(raw: str) -> tuple[PersonName, ...]:
    """Return the non-empty groups of one name; a name without ``^`` is all family name."""
    if raw.strip() and clean_text(raw) is None:
        return ()
    groups = zip(_REPRESENTATIONS, raw.split("="), strict=False)
    return tuple(
        name for representation, group in groups if (name := _group(representation, group)).text
    )


def _group(representation: str, raw: str) -> PersonName:
    parts = [" ".join((clean_text(part) or "").split()) for part in raw.split("^")[:5]]
    return PersonName(representation, *parts)
