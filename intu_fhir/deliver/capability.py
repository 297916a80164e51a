"""What a FHIR server says that it can do (CapabilityStatement)."""

from __future__ import annotations

from dataclasses import dataclass

from intu_fhir.deliver.answers import Json, objects, words

_VERSIONS = {"r4": ("4.0", "4.3"), "r5": ("5.0",)}


@dataclass(frozen=True, slots=True)
class Capability:
    """What matters of a CapabilityStatement.

    Args:
        known: it lists resources at all; an empty one tells nothing.
        interactions: what it offers for ImagingStudy, such as ``update``.
        transaction: it takes transaction Bundles.
    """

    known: bool = False
    software: str = ""
    fhir_version: str = ""
    listed: bool = False
    interactions: tuple[str, ...] = ()
    conditional_create: bool = False
    conditional_update: bool = False
    update_create: bool = False
    transaction: bool = False

    @property
    def takes_imaging_study(self) -> bool:
        """Whether ImagingStudy can be written there, as far as it says."""
        return not self.known or bool({"create", "update"} & set(self.interactions))

    def speaks(self, release: str) -> bool:
        """Say whether its FHIR version is that of ``release``, as far as it says."""
        return not self.fhir_version or self.fhir_version.startswith(_VERSIONS[release])

    def quote(self) -> str:
        """Return what the server offers for ImagingStudy, in its own words."""
        if not self.known:
            return "its CapabilityStatement lists no resources"
        if not self.listed:
            return "its CapabilityStatement does not list ImagingStudy"
        offers = ", ".join(self.interactions) or "no interaction"
        flags = [
            f"conditionalCreate {str(self.conditional_create).lower()}",
            f"conditionalUpdate {str(self.conditional_update).lower()}",
            f"updateCreate {str(self.update_create).lower()}",
        ]
        return f"its CapabilityStatement lists ImagingStudy with {offers}; {', '.join(flags)}"


UNKNOWN = Capability()
"""Of a server that does not say: conditional update is tried, the standard's own way."""


def read_capability(statement: Json) -> Capability:
    """Read a CapabilityStatement leniently; what is not said counts as not offered."""
    rest = [r for r in objects(statement.get("rest")) if r.get("mode", "server") == "server"]
    resources = [resource for r in rest for resource in objects(r.get("resource"))]
    study = next((r for r in resources if r.get("type") == "ImagingStudy"), None)
    software = statement.get("software")
    found = study or {}
    return Capability(
        known=bool(resources),
        software=_software(software) if isinstance(software, dict) else "",
        fhir_version=words(statement.get("fhirVersion")),
        listed=study is not None,
        interactions=_codes(found),
        conditional_create=found.get("conditionalCreate") is True,
        conditional_update=found.get("conditionalUpdate") is True,
        update_create=found.get("updateCreate") is True,
        transaction=any("transaction" in _codes(r) for r in rest),
    )


def _software(software: Json) -> str:
    return " ".join(filter(None, (words(software.get("name")), words(software.get("version")))))


def _codes(holder: Json) -> tuple[str, ...]:
    codes = (words(item.get("code")) for item in objects(holder.get("interaction")))
    return tuple(code for code in codes if code)
