"""Headers of many instances become one study; the order of arrival never matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from intu_fhir.mappings.attributes import Attributes, shipped_attributes
from intu_fhir.model.finding import Finding, Severity
from intu_fhir.model.settling import SeriesHeaders
from intu_fhir.model.study import HeaderGroup, Instance, Series, Study, in_use
from intu_fhir.model.values import Value, Values, text

_LAST = 2**31
_STUDY_LEVELS = frozenset({"patient", "study"})
# Times of which the earliest wins a tie: a late object often carries its own.
_EARLIEST = frozenset({"StudyDate", "SeriesDate"})
# Its own value decides which headers are those of acquired objects, so here only counts count.
_BY_COUNT_ALONE = frozenset({"Modality"})
_DAMAGED = "\N{REPLACEMENT CHARACTER}"


def merge_headers(
    study_uid: str,
    series: Mapping[str, SeriesHeaders],
    calling_ae_titles: Sequence[str] = (),
    generation: int = 1,
    *,
    attributes: Attributes | None = None,
) -> Study:
    """Return the study that its staged headers make; the same headers make the same study.

    Where headers disagree, the most frequent value counts: of acquired objects first, then of
    reports and presentation states. A tie goes to the lowest series number, instance number and
    UID. What belongs together, such as a date and its time, is taken from one header. What is
    rejected has no say while anything else is left.

    Args:
        attributes: levels of the staged attributes, by default the shipped ones.
    """
    attributes = attributes or shipped_attributes()
    groups = [group for headers in series.values() for group in headers.groups]
    study = _Level("study", study_uid, _sorted(groups), attributes)
    merged = study.merge(_STUDY_LEVELS)
    one_each, doubles = _without_doubles(series)
    findings = [*study.findings, *doubles]
    members = []
    for uid, headers in series.items():
        level = _Level("series", uid, _sorted(headers.groups), attributes)
        values = level.merge(frozenset({"series"}))
        instances = tuple(sorted(one_each[uid], key=_place))
        members.append(Series(uid, values, instances, level.groups))
        findings += level.findings
    return Study(
        uid=study_uid,
        values=merged,
        series=tuple(
            sorted(members, key=lambda one: (_number(one.values, "SeriesNumber"), one.uid))
        ),
        calling_ae_titles=tuple(sorted(set(calling_ae_titles))),
        generation=generation,
        findings=tuple(sorted(findings, key=lambda f: (f.level, f.uid, f.code, f.attribute))),
    )


def _place(instance: Instance) -> tuple[int, str]:
    return _number(instance.values, "InstanceNumber"), instance.uid


def _number(values: Values, keyword: str) -> int:
    raw = text(values, keyword)
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) <= 10 else _LAST


def _sorted(groups: Iterable[HeaderGroup]) -> tuple[HeaderGroup, ...]:
    return tuple(sorted(groups, key=lambda group: (group.first, _normal(dict(group.values)))))


def _normal(value: Any) -> bytes:
    """Return a form that equal values share, whatever padding and order of keys they have."""
    return orjson.dumps(_stripped(value), option=orjson.OPT_SORT_KEYS)


def _stripped(value: Any) -> Any:
    if isinstance(value, str):
        # What no JSON can hold (lone surrogates) is damaged, and told apart only as such.
        return value.strip(" \0").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        parts = {key: _stripped(inner) for key, inner in value.items()}
        return {key: inner for key, inner in parts.items() if inner}
    return [item for item in map(_stripped, value) if item]


def _has(values: Values, keyword: str) -> bool:
    return bool(_stripped(values.get(keyword, "")))


@dataclass
class _Candidate:
    """One distinct value of an attribute, or of attributes that belong together."""

    values: tuple[Value | None, ...]
    normal: bytes
    count: int
    first: tuple[int, int, str]

    @property
    def filled(self) -> int:
        return sum(1 for value in self.values if value)


class _Level:
    """Merges the headers of one study or one series."""

    def __init__(
        self, level: str, uid: str, groups: tuple[HeaderGroup, ...], attributes: Attributes
    ) -> None:
        self._level, self._uid, self._attributes = level, uid, attributes
        self.groups = groups
        self._used = in_use(groups)
        self.findings: list[Finding] = []

    def merge(self, levels: frozenset[str]) -> Values:
        """Return one value for each attribute of ``levels`` that any header has."""
        together = self._attributes.together[self._level]
        merged: Values = {}
        for keywords in together:
            self._choose_together(keywords, merged)
        done = {keyword for keywords in together for keyword in keywords}
        for keyword in (*self._attributes.levels, *self._added()):
            # What a site's own mapping added belongs to a level that only the mapping knows.
            level = self._attributes.levels.get(keyword)
            if keyword not in done and (level is None or level in levels):
                self._choose((keyword,), self._used, merged)
        return merged

    def _added(self) -> list[str]:
        """Return the keywords that are staged beside the known attributes."""
        there = {keyword for group in self._used for keyword in group.values}
        return sorted(there - set(self._attributes.levels))

    def _choose_together(self, keywords: tuple[str, ...], merged: Values) -> None:
        """Choose the first of ``keywords``, then the others among the headers that agree on it."""
        lead, *rest = keywords
        chosen = self._choose((lead,), self._used, merged)
        same = [
            group
            for group in self._used
            if chosen is None or _normal([group.values.get(lead, "")]) == chosen
        ]
        self._choose(tuple(rest), tuple(same), merged, lead=lead)

    def _choose(
        self,
        keywords: tuple[str, ...],
        groups: Sequence[HeaderGroup],
        merged: Values,
        lead: str = "",
    ) -> bytes | None:
        """Put the winning values into ``merged`` and return their normal form."""
        candidates = self._candidates(keywords, groups)
        if not candidates:
            return None
        winner = min(candidates, key=lambda one: _rank(one, lead or keywords[0]))
        for keyword, value in zip(keywords, winner.values, strict=True):
            if value:
                merged[keyword] = value
        if len(candidates) > 1:
            self._note_conflict(keywords, len(candidates))
        return winner.normal

    def _candidates(
        self, keywords: tuple[str, ...], groups: Sequence[HeaderGroup]
    ) -> list[_Candidate]:
        having = [group for group in groups if any(_has(group.values, k) for k in keywords)]
        acquired = [group for group in having if group.acquired]
        found: dict[bytes, _Candidate] = {}
        for group in having if keywords[0] in _BY_COUNT_ALONE else acquired or having:
            values = tuple(group.values.get(keyword) for keyword in keywords)
            normal = _normal([value or "" for value in values])
            known = found.setdefault(normal, _Candidate(values, normal, 0, group.first))
            known.count += group.count
            known.first = min(known.first, group.first)
        return list(found.values())

    def _note_conflict(self, keywords: tuple[str, ...], number: int) -> None:
        known = self._attributes.levels
        disagreeing = [k for k in keywords if k in known and k not in self._attributes.collected]
        if not disagreeing:
            return
        name = ", ".join(disagreeing)
        self.findings.append(
            Finding(
                Severity.WARNING,
                "attribute_conflict",
                f"{name}: the instances have {number} different values; the most frequent counts",
                self._level,
                self._uid,
                disagreeing[0],
            )
        )


def _rank(candidate: _Candidate, lead: str) -> tuple[Any, ...]:
    """Order candidates: readable ones, then frequent, then fuller, then earlier ones."""
    damaged = _DAMAGED.encode() in candidate.normal
    # A date without time is no earlier one, though its normal form begins with the offset then.
    late = not _stripped(candidate.values[0] or "")
    tie = (late, candidate.normal) if lead in _EARLIEST else ()
    return damaged, -candidate.count, tie, -candidate.filled, candidate.first, candidate.normal


def _without_doubles(
    series: Mapping[str, SeriesHeaders],
) -> tuple[dict[str, list[Instance]], list[Finding]]:
    """Keep each SOP Instance UID once: in the first of the series, by UID, that has it."""
    kept: dict[str, list[Instance]] = {}
    seen: dict[str, str] = {}
    findings = []
    for uid in sorted(series):
        kept[uid] = []
        for instance in sorted(series[uid].instances, key=lambda one: (one.uid, one.file)):
            if instance.uid not in seen:
                seen[instance.uid] = uid
                kept[uid].append(instance)
            elif seen[instance.uid] != uid:
                findings.append(_double(instance.uid))
    return kept, findings


def _double(uid: str) -> Finding:
    return Finding(
        Severity.ERROR,
        "instance_in_two_series",
        f"Instance {uid} stands in two series; find out which one it belongs to",
        "instance",
        uid,
        "SOPInstanceUID",
    )
