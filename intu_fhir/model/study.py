"""A study as aggregated from its staged instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from intu_fhir.model.finding import Finding
from intu_fhir.model.values import Values


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance; ``values`` are its own attributes (``level: instance``) by keyword."""

    uid: str
    sop_class_uid: str
    transfer_syntax_uid: str = ""
    values: Values = field(default_factory=dict)
    file: str = ""


@dataclass(frozen=True, slots=True)
class HeaderGroup:
    """One distinct set of patient, study and series attributes within a series.

    Instances of a series mostly share one such set, so merging looks at few of them.

    Args:
        first: orders groups for ties: (series number, instance number, SOP Instance UID).
        acquired: the instances are acquisition objects (modality in CID 29).
        rejected: rejection notes took the instances out, or they are such notes.
    """

    values: Values
    count: int
    first: tuple[int, int, str]
    acquired: bool = True
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """One series; ``values`` are the merged series attributes by keyword."""

    uid: str
    values: Values
    instances: tuple[Instance, ...]
    groups: tuple[HeaderGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class Study:
    """One study; ``values`` are the merged patient and study attributes by keyword."""

    uid: str
    values: Values
    series: tuple[Series, ...]
    calling_ae_titles: tuple[str, ...] = ()
    generation: int = 1
    findings: tuple[Finding, ...] = ()

    @property
    def number_of_instances(self) -> int:
        """Instances over all series, as staged."""
        return sum(len(series.instances) for series in self.series)


def in_use(groups: Sequence[HeaderGroup]) -> Sequence[HeaderGroup]:
    """Return the headers of what is not rejected; all of them where nothing else is left."""
    return tuple(group for group in groups if not group.rejected) or groups
