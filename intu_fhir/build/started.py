"""When a study or series began."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from intu_fhir.build.source import Convert, Source
from intu_fhir.build.times import Moment, TimeRules, date_time, earliest, split_date_time
from intu_fhir.mappings import rules
from intu_fhir.model.values import Values, text

_ZONE = "TimezoneOffsetFromUTC"
_DATE_PROBLEMS = frozenset({"invalid_date", "partial_date", "implausible_date"})
_ZONE_PROBLEMS = frozenset({"unknown_zone", "invalid_zone", "zone_disagrees"})


def make_time(rule: rules.Time) -> Convert:
    """Make the converter of a dateTime."""

    def convert(source: Source) -> Sequence[Any]:
        how = TimeRules(
            source.context.zone,
            source.context.today,
            rule.leap_second,
            rule.unsure_zone,
            rule.partial_dates,
        )
        for attributes in rule.source:
            found = _moment(source, source.values, attributes, how)
            if found.value:
                return (found.value,)
        for attributes in rule.fallback:
            if value := _earliest(source, attributes, how):
                source.note("started_derived", rule.source[0][0])
                return (value,)
        return ()

    return convert


def _moment(source: Source, values: Values, attributes: Sequence[str], how: TimeRules) -> Moment:
    date_raw, time_raw, zone_raw = _raw(values, attributes)
    if not date_raw:
        return Moment()
    found = date_time(date_raw, time_raw, zone_raw or _zone_around(source, values), how)
    for problem in found.problems:
        source.note(problem, _blamed(problem, attributes))
    return found


def _raw(values: Values, attributes: Sequence[str]) -> tuple[str, str, str]:
    """Return date, time and own offset; a single attribute holds all three (VR DT)."""
    if len(attributes) == 1:
        return split_date_time(text(values, attributes[0]).partition("\\")[0])
    date_raw, time_raw = (text(values, one).partition("\\")[0] for one in attributes)
    return date_raw, time_raw, ""


def _zone_around(source: Source, values: Values) -> str:
    """Return the offset of the same header; an instance shares that of its series."""
    return text(values, _ZONE) or (text(source.series.values, _ZONE) if source.series else "")


def _blamed(problem: str, attributes: Sequence[str]) -> str:
    if problem in _ZONE_PROBLEMS:
        return _ZONE
    return attributes[0] if problem in _DATE_PROBLEMS else attributes[-1]


def _earliest(source: Source, attributes: Sequence[str], how: TimeRules) -> str:
    """Return the earliest moment that any series or instance has."""
    moments = (
        _moment(source, values, attributes, how) for values in _headers_below(source, attributes)
    )
    return earliest(moment.value for moment in moments if moment.value)


def _headers_below(source: Source, attributes: Sequence[str]) -> Iterator[Values]:
    """Give the values of each series and instance, with the offset that applies to them."""
    chosen = [source.series] if source.series else list(source.study.series)
    for series in chosen:
        zone = {_ZONE: series.values[_ZONE]} if _ZONE in series.values else {}
        if attributes[0] in series.values:
            yield series.values
        for instance in series.instances:
            if attributes[0] in instance.values:
                yield {**zone, **instance.values}
