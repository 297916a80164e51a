"""Which destinations a study goes to; pure, so that anybody can ask beforehand."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache

from intu_fhir.errors import ConfigurationError
from intu_fhir.model.expression import Expression
from intu_fhir.model.expression_text import parse_expression
from intu_fhir.model.study import Study
from intu_fhir.model.values import Values
from intu_fhir.settings.routes import Only
from intu_fhir.settings.schema import AnyDestination

NAMED_HERE = frozenset(
    {"CallingAETitle", "Channel", "NumberOfInstances", "NumberOfSeries"}
    | {"SOPClassUID", "TransferSyntaxUID", "StudyInstanceUID", "SeriesInstanceUID"}
)
"""What an expression may name beside the staged attributes."""


def left_out(
    destinations: Mapping[str, AnyDestination], study: Study, channels: Sequence[str]
) -> dict[str, str]:
    """Return the destinations that do not get a study, and why.

    What comes after a destination that does not get the study does not get it either: it would
    speak of something that is not there.
    """
    reasons = {
        name: reason
        for name, destination in destinations.items()
        if (reason := _reason(destination.only, study, channels))
    }
    found = -1
    while found != len(reasons):
        found = len(reasons)
        for name, destination in destinations.items():
            first = next((one for one in destination.after if one in reasons), None)
            if name not in reasons and first is not None:
                reasons[name] = f"{first}, which it comes after, does not get this study"
    return reasons


def _reason(only: Only | None, study: Study, channels: Sequence[str]) -> str:
    """Return why a study is not wanted, or nothing; no value of the patient is in it."""
    if only is None:
        return ""
    checks: list[tuple[str, Collection[str] | None, Collection[str]]] = [
        ("modalities", only.modalities, attribute(study, channels, "Modality")),
        ("calling_ae_titles", only.calling_ae_titles, study.calling_ae_titles),
        ("channels", only.channels, channels),
    ]
    for key, wanted, there in checks:
        if wanted is not None and not set(wanted) & set(there):
            names = ", ".join(sorted(there)) or "none"
            return f"only.{key} wants {', '.join(wanted)}; this study has {names}"
    if only.where is not None:
        condition = parsed(only.where)
        if not condition.holds(lambda name: attribute(study, channels, name)):
            return f"only.where does not hold: {only.where}"
    return ""


def require_staged(destinations: Mapping[str, AnyDestination], staged: Collection[str]) -> None:
    """Make sure that conditions name what has values.

    Raises:
        ConfigurationError: one names an attribute that is not staged.
    """
    for destination, settings in destinations.items():
        where = settings.only.where if settings.only else None
        for name in parsed(where).names() if where else ():
            if name not in NAMED_HERE and name not in staged:
                raise ConfigurationError(
                    f"{name} is not staged, so no study has a value of it; name it in the "
                    "channel's mapping, under `attributes:`",
                    key=f"destinations.{destination}.only.where",
                )


@cache
def parsed(where: str) -> Expression:
    """Return an expression of the configuration, read once."""
    return parse_expression(where)


def attribute(study: Study, channels: Sequence[str], name: str) -> list[str]:
    """Return the distinct values that a study has of an attribute, the first one first."""
    return list(dict.fromkeys(_values(study, channels, name)))


def _values(study: Study, channels: Sequence[str], name: str) -> Iterator[str]:
    if name in NAMED_HERE:
        yield from _named(study, channels, name)
        return
    yield from _text(study.values, name)
    for series in study.series:
        yield from _text(series.values, name)
        for group in series.groups:
            yield from _text(group.values, name)
        for instance in series.instances:
            yield from _text(instance.values, name)


def _text(values: Values, name: str) -> Iterator[str]:
    value = values.get(name)
    if isinstance(value, str) and value.strip(" \0"):
        yield value.strip(" \0")
    elif value and not isinstance(value, str):
        yield f"{len(value)} items"


def _named(study: Study, channels: Sequence[str], name: str) -> Iterator[str]:
    if name == "CallingAETitle":
        yield from study.calling_ae_titles
    elif name == "Channel":
        yield from channels
    elif name == "NumberOfSeries":
        yield str(len(study.series))
    elif name == "NumberOfInstances":
        yield str(study.number_of_instances)
    elif name == "StudyInstanceUID":
        yield study.uid
    elif name == "SeriesInstanceUID":
        yield from (series.uid for series in study.series)
    else:
        for series in study.series:
            for one in series.instances:
                yield one.sop_class_uid if name == "SOPClassUID" else one.transfer_syntax_uid
