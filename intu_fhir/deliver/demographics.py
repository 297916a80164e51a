"""Whether a patient found at a server can be the patient of a study."""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from typing import Any

from intu_fhir.deliver.answers import Json, objects, words
from intu_fhir.model.values import Values, text

SEXES = {"M": "male", "F": "female", "O": "other"}
"""Patient's Sex (0010,0040) as administrative gender; anything else says nothing."""

_LETTERS = 3
_NEVER = "9999-12-31"
_EXPANSIONS = str.maketrans(
    {
        "ä": "ae",
        "ö": "oe",
        "ü": "ue",
        "å": "aa",
        "ø": "oe",
        "æ": "ae",
        "œ": "oe",
        "ð": "d",
        "ł": "l",
    }
)


def mismatches(values: Values, patient: Json) -> list[str]:
    """Return which of birth date, sex and family name contradict; what is absent never does."""
    checks = {
        "birth date": _dates_agree(birth_date(values), words(patient.get("birthDate"))),
        "sex": _sexes_agree(text(values, "PatientSex"), words(patient.get("gender"))),
        "family name": _names_agree(family_names(values), patient.get("name")),
    }
    return [name for name, agrees in checks.items() if not agrees]


def birth_date(values: Values) -> str:
    """Return Patient's Birth Date (0010,0030) as a FHIR date, or nothing where it is none.

    Both ``19700131`` (PS3.5 6.2, DA) and the old ``1970.01.31`` are read. What stands for an
    unknown day, such as ``00000000``, is no date.
    """
    found = re.fullmatch(r"(\d{4})\.?(\d\d)\.?(\d\d)", text(values, "PatientBirthDate"), re.ASCII)
    written = "-".join(found.groups()) if found else ""
    try:
        date.fromisoformat(written)
    except ValueError:
        return ""
    return "" if written == _NEVER else written


def _dates_agree(ours: str, theirs: str) -> bool:
    shorter = min(len(ours), len(theirs))
    return ours[:shorter] == theirs[:shorter]


def _sexes_agree(ours: str, theirs: str) -> bool:
    sex = SEXES.get(ours.upper(), "")
    return not sex or theirs in {"", "unknown", sex}


def name_groups(values: Values) -> list[list[str]]:
    """Return Patient's Name (0010,0010) as groups of components (PS3.5 6.2.1).

    Of several names, which the attribute must not have, the first one counts.
    """
    names = (name for name in text(values, "PatientName").split("\\") if name.strip(" ^="))
    groups = next(names, "").split("=")[:3]
    return [[part.strip() for part in group.split("^")] for group in groups if group.strip(" ^")]


def family_names(values: Values) -> list[str]:
    """Return the family name in each script that the header has it in."""
    return [group[0] for group in name_groups(values) if group[0]]


def _names_agree(ours: list[str], names: Any) -> bool:
    """Compare the first letters, in the scripts that both sides use; any former name counts."""
    theirs = [family for name in objects(names) for family in _families(name)]
    pairs = [(a, b) for a in ours for b in theirs if _script(a) == _script(b) != ""]
    return not pairs or any(_forms(a) & _forms(b) for a, b in pairs)


def _families(name: Json) -> list[str]:
    family, whole = words(name.get("family")), words(name.get("text"))
    if family or not whole:
        return [family] if family else []
    # A name without parts: any of its words may be the family name.
    return re.split(r"[\s,]+", whole)


def _script(name: str) -> str:
    """Return the script of the first letter, such as ``LATIN``."""
    letter = next((c for c in name if c.isalpha()), "")
    return unicodedata.name(letter, "").split(" ")[0] if letter else ""


def _forms(name: str) -> set[str]:
    """Return the first letters without accents, and with German and Nordic letters spelt out."""
    folded = unicodedata.normalize("NFC", name).casefold()
    return {_first_letters(folded), _first_letters(folded.translate(_EXPANSIONS))}


def _first_letters(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name)
    return "".join(c for c in plain if c.isalpha())[:_LETTERS]
