"""Studies, series and instances that match DICOM keys, batch by batch, for a search by DICOMweb."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.columns import SERIES_COLUMNS, STUDY_COLUMNS
from intu_fhir.db.conditions import given
from intu_fhir.db.image_keys import Kind, matches
from intu_fhir.db.tables import header_groups, holds, instances, series, studies

Level: TypeAlias = Literal["study", "series", "instance"]

_STUDY: Mapping[str, sa.ColumnElement[Any]] = {
    "StudyInstanceUID": studies.c.study_instance_uid,
    **{keyword: studies.c[name] for name, keyword in STUDY_COLUMNS.items()},
    "NumberOfStudyRelatedSeries": studies.c.number_of_series,
    "NumberOfStudyRelatedInstances": studies.c.number_of_instances,
}
_SERIES: Mapping[str, sa.ColumnElement[Any]] = {
    "SeriesInstanceUID": series.c.series_instance_uid,
    **{keyword: series.c[name] for name, keyword in SERIES_COLUMNS.items()},
    "NumberOfSeriesRelatedInstances": series.c.number_of_instances,
}
_INSTANCE: Mapping[str, sa.ColumnElement[Any]] = {
    "SOPInstanceUID": instances.c.sop_instance_uid,
    "SOPClassUID": instances.c.sop_class_uid,
    "InstanceNumber": instances.c.instance_number,
    "NumberOfFrames": instances.c.number_of_frames,
    "AvailableTransferSyntaxUID": instances.c.transfer_syntax_uid,
}
_OF_LEVEL: Mapping[Level, Mapping[str, sa.ColumnElement[Any]]] = {
    "study": _STUDY,
    "series": {**_STUDY, **_SERIES},
    "instance": {**_STUDY, **_SERIES, **_INSTANCE},
}
_COUNTED = frozenset(
    {"NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"}
    | {"NumberOfSeriesRelatedInstances", "AvailableTransferSyntaxUID"}
)
_NAMES = frozenset(
    {"PatientName", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName"}
)
_NUMBERS = frozenset({"SeriesNumber", "InstanceNumber", "NumberOfFrames"})

MODALITIES = "ModalitiesInStudy"
STEP_DATE, STEP_TIME = "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"
STEP_ID = "RequestAttributesSequence.ScheduledProcedureStepID"
PROCEDURE_ID = "RequestAttributesSequence.RequestedProcedureID"
_REQUESTS = 4
"""Items of a Request Attributes Sequence that are looked at."""


def _kind(keyword: str) -> Kind:
    if keyword in _NAMES:
        return "name"
    if keyword in _NUMBERS:
        return "number"
    for ending in ("UID", "Date", "Time"):
        if keyword.endswith(ending):
            return ending.lower()  # type: ignore[return-value]
    return "text"


_BESIDE: Mapping[str, Kind] = {
    STEP_DATE: "date",
    STEP_TIME: "time",
    STEP_ID: "text",
    PROCEDURE_ID: "text",
}
"""Keys of a series that have no column; they are found where the mapping stages them."""


def keys_of(level: Level) -> Mapping[str, Kind]:
    """Return the attributes that a search at this level can match, with how they are matched."""
    kinds = {keyword: _kind(keyword) for keyword in _OF_LEVEL[level] if keyword not in _COUNTED}
    kinds[MODALITIES] = "text"
    return kinds if level == "study" else {**kinds, **_BESIDE}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is searched for.

    Args:
        keys: keyword and value of each key; an empty value matches everything.
        study_key: look in one study only.
        series_key: look in one series only.
        with_held: also studies that wait for a person's decision.
    """

    keys: tuple[tuple[str, str], ...] = ()
    study_key: int | None = None
    series_key: int | None = None
    with_held: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """One study, series or instance that matches.

    Args:
        key: of its row; a batch goes on behind it.
        series_key: 0 for a study.
        values: what staging has of it and of what is above it, by keyword.
        is_available: its files are there and are what was received.
    """

    key: int
    study_key: int
    series_key: int
    is_available: bool
    values: Mapping[str, str]


def find(
    connection: Connection, level: Level, wanted: Wanted, *, after: int | None, limit: int
) -> list[Hit]:
    """Return the next matches: studies the newest first, series and instances as they came.

    Args:
        after: ``Hit.key`` of the last match before.
    """
    key = _row_key(level)
    # A study or series is small: its own index has to be entered, not that of the order.
    in_order = key if wanted.study_key is None else key + 0
    is_newest_first = level == "study"
    follows = key.__lt__ if is_newest_first else key.__gt__
    found = (
        _select(level)
        .where(*_conditions(connection, level, wanted), *given(follows, after))
        .order_by(in_order.desc() if is_newest_first else in_order)
        .limit(limit)
    )
    return [_hit(level, row) for row in connection.execute(found)]


def _row_key(level: Level) -> sa.Column[int]:
    keys = {
        "study": studies.c.study_key,
        "series": series.c.series_key,
        "instance": instances.c.instance_key,
    }
    return keys[level]


def _select(level: Level) -> sa.Select[Any]:
    columns = _OF_LEVEL[level]
    chosen = sa.select(
        _row_key(level),
        studies.c.study_key,
        sa.literal(0) if level == "study" else series.c.series_key,
        _is_available(level),
        *columns.values(),
    )
    if level == "study":
        return chosen.select_from(studies)
    if level == "series":
        return chosen.join_from(series, studies, series.c.study_key == studies.c.study_key)
    return chosen.join_from(instances, series, instances.c.series_key == series.c.series_key).join(
        studies, instances.c.study_key == studies.c.study_key
    )


def _is_available(level: Level) -> sa.ColumnElement[bool]:
    if level == "instance":
        return sa.and_(instances.c.pruned_at.is_(None), instances.c.damaged_at.is_(None))
    return studies.c.number_of_pruned == 0


def _hit(level: Level, row: sa.Row[Any]) -> Hit:
    key, study_key, series_key, is_available, *values = tuple(row)
    texts = zip(_OF_LEVEL[level], map(str, values), strict=True)
    return Hit(key, study_key, series_key, bool(is_available), {k: v for k, v in texts if v})


def _conditions(
    connection: Connection, level: Level, wanted: Wanted
) -> list[sa.ColumnElement[bool]]:
    dialect = connection.dialect.name
    table = {"study": studies, "series": series, "instance": instances}[level]
    found = [
        *given(table.c.study_key.__eq__, wanted.study_key),
        *(_condition(level, keyword, value, dialect) for keyword, value in wanted.keys if value),
    ]
    if wanted.series_key is not None:
        found.append(table.c.series_key == wanted.series_key)
    if not wanted.with_held:
        found.append(~is_held())
    return found


def is_held() -> sa.ColumnElement[bool]:
    """Return the condition that a person has to decide on the study that is being selected."""
    held = sa.select(sa.literal(1)).where(
        holds.c.study_key == studies.c.study_key,
        holds.c.released_at.is_(None),
        holds.c.destination == "",
    )
    return held.correlate(studies).exists()


def _condition(level: Level, keyword: str, value: str, dialect: str) -> sa.ColumnElement[bool]:
    kind = keys_of(level)[keyword]
    if keyword == MODALITIES:
        return _with_modality(value, dialect)
    if keyword in _BESIDE:
        return _in_groups(keyword, kind, value, dialect)
    return matches(_OF_LEVEL[level][keyword], kind, value, dialect)


def _with_modality(value: str, dialect: str) -> sa.ColumnElement[bool]:
    """Return the condition that a series of the study has one of these modalities."""
    other = series.alias("of_study")
    wanted = [one.strip() for one in value.replace(",", "\\").split("\\")]
    found = sa.or_(*(matches(other.c.modality, "text", one, dialect) for one in wanted))
    return studies.c.study_key.in_(sa.select(other.c.study_key).where(found))


def _in_groups(keyword: str, kind: Kind, value: str, dialect: str) -> sa.ColumnElement[bool]:
    attributes = header_groups.c.attributes
    sequence, dot, inside = keyword.partition(".")
    places = (
        [attributes[(sequence, number, inside)] for number in range(_REQUESTS)]
        if dot
        else [attributes[keyword]]
    )
    found = sa.select(sa.literal(1)).where(
        header_groups.c.series_key == series.c.series_key,
        sa.or_(*(matches(place.as_string(), kind, value, dialect) for place in places)),
    )
    return found.correlate(series).exists()


def place_of(
    connection: Connection, study_instance_uid: str, series_instance_uid: str | None
) -> tuple[int, int | None] | None:
    """Return the keys of a study and of a series in it, or None where there is no such thing."""
    key = connection.execute(
        sa.select(studies.c.study_key).where(studies.c.study_instance_uid == study_instance_uid)
    ).scalar()
    if key is None or series_instance_uid is None:
        return None if key is None else (int(key), None)
    c = series.c
    inner = connection.execute(
        sa.select(c.series_key).where(
            c.study_key == key, c.series_instance_uid == series_instance_uid
        )
    ).scalar()
    return None if inner is None else (int(key), int(inner))


def modalities_of(connection: Connection, study_keys: Collection[int]) -> dict[int, str]:
    """Return the modalities of some studies, several with backslashes between them."""
    c = series.c
    found = sa.select(c.study_key, c.modality).where(c.study_key.in_(study_keys)).distinct()
    by_study: dict[int, set[str]] = {}
    for key, modality in connection.execute(found):
        by_study.setdefault(int(key), set()).add(modality)
    return {key: "\\".join(sorted(filter(None, some))) for key, some in by_study.items()}


def first_instances(
    connection: Connection, keys: Collection[int], *, of: Literal["study", "series"]
) -> dict[int, int]:
    """Return the first instance of each study or series: its header speaks for the others."""
    column = instances.c.study_key if of == "study" else instances.c.series_key
    found = sa.select(column, sa.func.min(instances.c.instance_key)).where(column.in_(keys))
    return {int(key): int(first) for key, first in connection.execute(found.group_by(column))}
