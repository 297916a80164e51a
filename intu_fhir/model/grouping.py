"""Instances of a study, grouped by series and by the attributes that they share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from intu_fhir.model.rejection import rejected_by_notes
from intu_fhir.model.settling import SeriesHeaders
from intu_fhir.model.study import HeaderGroup, Instance
from intu_fhir.model.values import Values

_LAST = 2**31


@dataclass(frozen=True, slots=True)
class StagedHeader:
    """What is staged of one instance.

    Args:
        shared: its patient, study and series attributes.
        group: equal for instances whose ``shared`` is equal.
    """

    instance: Instance
    shared: Values
    group: Hashable
    modality: str
    series_number: str
    instance_number: str


def group_study(
    by_series: Mapping[str, Sequence[StagedHeader]], acquired: frozenset[str]
) -> dict[str, SeriesHeaders]:
    """Return the series of a study as their distinct headers, each with how many share it.

    Args:
        acquired: modalities of acquired objects (PS3.16 CID 29).
    """
    rejected = rejected_by_notes(one.instance for members in by_series.values() for one in members)
    return {uid: _grouped(members, acquired, rejected) for uid, members in by_series.items()}


def _grouped(
    members: Sequence[StagedHeader], acquired: frozenset[str], rejected: frozenset[str]
) -> SeriesHeaders:
    by_group: dict[tuple[Hashable, bool], list[StagedHeader]] = {}
    for member in members:
        key = (member.group, member.instance.uid in rejected)
        by_group.setdefault(key, []).append(member)
    groups = tuple(
        HeaderGroup(
            values=sharing[0].shared,
            count=len(sharing),
            first=min(_position(member) for member in sharing),
            acquired=sharing[0].modality.strip().upper() in acquired,
            rejected=out,
        )
        for (_, out), sharing in by_group.items()
    )
    return SeriesHeaders(groups, tuple(member.instance for member in members))


def with_more(staged: StagedHeader, shared: Values, own: Values) -> StagedHeader:
    """Return a header with values that were not staged; what was staged stays as it is."""
    more = {key: value for key, value in shared.items() if key not in staged.shared}
    values = {**own, **staged.instance.values}
    return replace(
        staged,
        instance=replace(staged.instance, values=values),
        shared={**staged.shared, **more},
        group=(staged.group, repr(sorted(more.items()))),
    )


def _position(member: StagedHeader) -> tuple[int, int, str]:
    return _number(member.series_number), _number(member.instance_number), member.instance.uid


def _number(raw: str) -> int:
    raw = raw.strip()
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 10 else _LAST
