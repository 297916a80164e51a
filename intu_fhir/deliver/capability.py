"""What a FHIR server says that it can do (CapabilityStatement)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from intu_fhir.deliver.answers import Json, objects, words

STUDY = "ImagingStudy"
_VERSIONS = {"r4": ("4.0", "4.3"), "r5": ("5.0",)}


@dataclass(frozen=True, slots=True)
class Capability:
    """What matters of a CapabilityStatement.

    Args:
        known: it lists resources at all; an empty one tells nothing.
        resource_type: of which type the rest speaks.
        interactions: what it offers for that type, such as ``update``.
        transaction: it takes transaction Bundles.
        others: the same of the other types.
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
    resource_type: str = STUDY
    others: Mapping[str, Capability] = field(default_factory=dict, compare=False)

    @property
    def takes(self) -> bool:
        """Whether resources of the type can be written there, as far as it says."""
        return not self.known or bool({"create", "update"} & set(self.interactions))

    @property
    def takes_imaging_study(self) -> bool:
        """Whether ImagingStudy can be written there, as far as it says."""
        return self.of(STUDY).takes

    @property
    def guards_creates(self) -> bool:
        """Whether it can be told what a create is of, so that two at once make one."""
        return self.conditional_create or self.conditional_update or self.update_create

    @property
    def finds_by_itself(self) -> bool:
        """Whether an update by identifier is the best way to write what may be there already.

        Conditional create comes first: two at once make one even where the server forgets what an
        update by identifier was of (decision 0019).
        """
        return not self.conditional_create and (self.conditional_update or not self.known)

    def of(self, resource_type: str) -> Capability:
        """Return what it says of another type."""
        if resource_type == self.resource_type:
            return self
        found = self.others.get(resource_type)
        return found or replace(
            self,
            resource_type=resource_type,
            listed=False,
            interactions=(),
            conditional_create=False,
            conditional_update=False,
            update_create=False,
        )

    def speaks(self, release: str) -> bool:
        """Say whether its FHIR version is that of ``release``, as far as it says."""
        return not self.fhir_version or self.fhir_version.startswith(_VERSIONS[release])

    def quote(self) -> str:
        """Return what the server offers for the type, in its own words."""
        if not self.known:
            return "its CapabilityStatement lists no resources"
        if not self.listed:
            return f"its CapabilityStatement does not list {self.resource_type}"
        offers = ", ".join(self.interactions) or "no interaction"
        flags = [
            f"conditionalCreate {str(self.conditional_create).lower()}",
            f"conditionalUpdate {str(self.conditional_update).lower()}",
            f"updateCreate {str(self.update_create).lower()}",
        ]
        return (
            f"its CapabilityStatement lists {self.resource_type} with {offers}; {', '.join(flags)}"
        )


UNKNOWN = Capability()
"""Of a server that does not say: conditional update is tried, the standard's own way."""


def read_capability(statement: Json) -> Capability:
    """Read a CapabilityStatement leniently; what is not said counts as not offered."""
    rest = [r for r in objects(statement.get("rest")) if r.get("mode", "server") == "server"]
    resources = [resource for r in rest for resource in objects(r.get("resource"))]
    software = statement.get("software")
    said = Capability(
        known=bool(resources),
        software=_software(software) if isinstance(software, dict) else "",
        fhir_version=words(statement.get("fhirVersion")),
        transaction=any("transaction" in _codes(r) for r in rest),
    )
    others: dict[str, Capability] = {}
    for resource in resources:
        kind = words(resource.get("type"))
        others.setdefault(kind, _of_type(said, kind, resource))
    return replace(others.pop(STUDY, said), others=others)


def _of_type(said: Capability, kind: str, resource: Json) -> Capability:
    return replace(
        said,
        resource_type=kind,
        listed=True,
        interactions=_codes(resource),
        conditional_create=resource.get("conditionalCreate") is True,
        conditional_update=resource.get("conditionalUpdate") is True,
        update_create=resource.get("updateCreate") is True,
    )


def _software(software: Json) -> str:
    return " ".join(filter(None, (words(software.get("name")), words(software.get("version")))))


def _codes(holder: Json) -> tuple[str, ...]:
    codes = (words(item.get("code")) for item in objects(holder.get("interaction")))
    return tuple(code for code in codes if code)
