"""What is retrieved of a study: instances with their files and headers, and what rejects some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.conditions import given
from intu_fhir.db.image_query import is_held
from intu_fhir.db.tables import associations, headers, instances, series, studies

_AT_A_TIME = 500
KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"


@dataclass(frozen=True, slots=True)
class Image:
    """One instance, with what is needed to read its file.

    Args:
        is_pruned: its file is gone on purpose.
        is_damaged: its file is known not to be what was received.
        is_described: its complete header is staged.
    """

    instance_key: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    file: str
    data_set_offset: int
    data_set_bytes: int
    sha256: str
    calling_ae_title: str
    is_pruned: bool
    is_damaged: bool
    is_described: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A study, a series or an instance, by UID."""

    study: str
    series: str | None = None
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """The complete header of a Key Object Selection Document."""

    study_key: int
    sop_instance_uid: str
    dicom_json: Any


@dataclass(frozen=True, slots=True)
class Counted:
    """How many instances of a series are among some, and how many it has in all."""

    study_key: int
    series_key: int
    total: int
    number: int


def images_of(
    connection: Connection, place: Place, *, with_held: bool, after: int = 0, limit: int
) -> list[Image]:
    """Return the next instances of a place, in the order in which they came."""
    c = instances.c
    found = (
        sa.select(
            c.instance_key,
            studies.c.study_instance_uid,
            series.c.series_instance_uid,
            c.sop_instance_uid,
            c.sop_class_uid,
            c.transfer_syntax_uid,
            c.file,
            c.data_set_offset,
            c.data_set_bytes,
            c.sha256,
            associations.c.calling_ae_title,
            c.pruned_at.is_not(None),
            c.damaged_at.is_not(None),
            c.described_at.is_not(None),
        )
        .join_from(instances, series, series.c.series_key == c.series_key)
        .join(studies, studies.c.study_key == c.study_key)
        .join(associations, associations.c.association_id == c.association_id)
        .where(
            c.study_key == study_key_of(place),
            c.instance_key > after,
            *given(series.c.series_instance_uid.__eq__, place.series),
            *given(c.sop_instance_uid.__eq__, place.instance),
            *([] if with_held else [~is_held()]),
        )
        .order_by(c.instance_key + 0)  # the study's own index is entered, not that of the order
        .limit(limit)
    )
    return [Image(*tuple(row)) for row in connection.execute(found)]


def study_key_of(place: Place) -> sa.ScalarSelect[Any]:
    """Return the key of a place's study, as a part of a statement."""
    found = sa.select(studies.c.study_key).where(studies.c.study_instance_uid == place.study)
    return found.scalar_subquery()


def notes_of(connection: Connection, study_keys: Iterable[int]) -> list[Note]:
    """Return the key object selections of studies; some may be rejection notes."""
    found: list[Note] = []
    # Written out, since a partial index serves only a value that stands in the statement.
    is_selection = instances.c.sop_class_uid == sa.literal_column(f"'{KEY_OBJECTS}'")
    for some in _slices(sorted(study_keys)):
        rows = connection.execute(
            sa.select(instances.c.study_key, instances.c.sop_instance_uid, headers.c.dicom_json)
            .join(headers, headers.c.instance_key == instances.c.instance_key)
            .where(instances.c.study_key.in_(some), is_selection)
        )
        found += [Note(*row) for row in rows]
    return found


def study_key(connection: Connection, place: Place) -> int | None:
    """Return the key of a place's study, or None where it was never received."""
    key = connection.execute(sa.select(study_key_of(place))).scalar()
    return None if key is None else int(key)


def count_by_series(connection: Connection, uids: Collection[str]) -> list[Counted]:
    """Count the instances of these UIDs that are staged, by series."""
    counted: Counter[tuple[int, int, int]] = Counter()
    c = instances.c
    for some in _slices(sorted(uids)):
        rows = connection.execute(
            sa.select(c.study_key, c.series_key, series.c.number_of_instances, sa.func.count())
            .join(series, series.c.series_key == c.series_key)
            .where(c.sop_instance_uid.in_(some))
            .group_by(c.study_key, c.series_key, series.c.number_of_instances)
        )
        counted.update({(study, inner, total): number for study, inner, total, number in rows})
    return [Counted(*keys, number) for keys, number in counted.items()]


def headers_of(connection: Connection, keys: Collection[int]) -> dict[int, Any]:
    """Return complete headers by the key of their instance."""
    c = headers.c
    found = sa.select(c.instance_key, c.dicom_json).where(c.instance_key.in_(keys))
    return {int(key): json for key, json in connection.execute(found)}


def elements_of(
    connection: Connection, keys: Collection[int], tags: Sequence[str]
) -> dict[int, dict[str, Any]]:
    """Return some elements of complete headers, which are not read as a whole."""
    c = headers.c
    parts = [c.dicom_json[tag].label(f"e{number}") for number, tag in enumerate(tags)]
    found: dict[int, dict[str, Any]] = {}
    for some in _slices(sorted(keys)):
        for key, *values in connection.execute(
            sa.select(c.instance_key, *parts).where(c.instance_key.in_(some))
        ):
            found[int(key)] = {t: v for t, v in zip(tags, values, strict=True) if v is not None}
    return found


def _slices(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(keys), _AT_A_TIME):
        yield keys[begin : begin + _AT_A_TIME]
