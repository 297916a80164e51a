"""What is staged of a study's headers, and what older headers have of attributes wanted later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.studies import origins_of
from intu_fhir.db.tables import associations, header_groups, headers, instances, series, studies
from intu_fhir.model.grouping import StagedHeader, group_study, with_more
from intu_fhir.model.settling import StudyHeaders
from intu_fhir.model.stored import Stored
from intu_fhir.model.study import Instance
from intu_fhir.model.values import Values

_CHUNK = 100
"""Complete headers that are read at a time."""


@dataclass(frozen=True)
class Later:
    """What a mapping wants of instances that were staged before it wanted it.

    Args:
        digest: of the list of attributes; instances staged by it lack nothing.
        read: returns the shared and the own values of a complete header (PS3.18 annex F).
        again: returns a complete header that was removed, from its file; None where that is gone.
    """

    digest: str
    read: Callable[[Any], tuple[Values, Values]]
    again: Callable[[Stored], Any | None]


_Read: TypeAlias = tuple[Mapping[int, tuple[Values, Values]], tuple[str, ...]]
"""Values by instance, and the instances whose header is nowhere."""
_NOTHING: _Read = ({}, ())


def load_headers(
    connection: Connection,
    study_key: int,
    *,
    acquisition_modalities: frozenset[str],
    later: Later | None = None,
) -> StudyHeaders:
    """Return what is staged of a study, for conflicts and merging.

    Args:
        acquisition_modalities: modalities of acquired objects (PS3.16 CID 29); their headers
            weigh more than those of reports and presentation states.
        later: adds attributes that were not staged yet when instances came.
    """
    study = connection.execute(
        sa.select(studies.c.study_instance_uid, studies.c.revision).where(
            studies.c.study_key == study_key
        )
    ).one()
    rows = connection.execute(
        sa.select(
            series.c.series_instance_uid,
            instances.c.instance_key,
            instances.c.staged_by,
            instances.c.sop_instance_uid,
            instances.c.sop_class_uid,
            instances.c.transfer_syntax_uid,
            instances.c.modality,
            instances.c.series_number,
            instances.c.instance_number,
            instances.c.attributes,
            instances.c.file,
            instances.c.header_group_key,
        )
        .join(series, series.c.series_key == instances.c.series_key)
        # Said of both: else PostgreSQL reads all series of a site of middle size for one study.
        .where(instances.c.study_key == study_key, series.c.study_key == study_key)
    ).all()
    shared = _group_attributes(connection, study_key)
    more, unread = _read_later(connection, rows, later) if later else _NOTHING
    by_series: dict[str, list[StagedHeader]] = {}
    for row in rows:
        # By place instead of by name: a study of 5,000 images is 60,000 values.
        uid, instance_key, _, sop_uid, sop_class, syntax, *numbers, own, file, group = row
        instance = Instance(sop_uid, sop_class, syntax, own or {}, file)
        staged = StagedHeader(instance, shared.get(group, {}), group, *numbers)
        if found := more.get(instance_key):
            staged = with_more(staged, *found)
        by_series.setdefault(uid, []).append(staged)
    return StudyHeaders(
        study_instance_uid=study.study_instance_uid,
        revision=study.revision,
        series=group_study(by_series, acquisition_modalities),
        calling_ae_titles=_calling_ae_titles(connection, study_key),
        shared_series=_shared_series(connection, study_key),
        unread=unread,
    )


def _read_later(connection: Connection, rows: Sequence[Any], later: Later) -> _Read:
    """Return what complete headers say, of instances that were staged by another list.

    One that was removed by retention is read anew from the instance's file.
    """
    wanted = [row.instance_key for row in rows if row.staged_by != later.digest]
    found: dict[int, tuple[Values, Values]] = {}
    unread: list[str] = []
    for begin in range(0, len(wanted), _CHUNK):
        some = wanted[begin : begin + _CHUNK]
        read = connection.execute(
            sa.select(headers.c.instance_key, headers.c.dicom_json).where(
                headers.c.instance_key.in_(some)
            )
        )
        found |= {row.instance_key: later.read(row.dicom_json) for row in read}
        for key, stored in _stored(connection, [key for key in some if key not in found]):
            if (header := later.again(stored)) is None:
                unread.append(stored.sop_instance_uid)
            else:
                found[key] = later.read(header)
    return found, tuple(sorted(unread))


def _stored(connection: Connection, keys: Sequence[int]) -> list[tuple[int, Stored]]:
    """Return where the files of instances are."""
    c = instances.c
    found = (
        sa.select(
            c.instance_key,
            c.sop_instance_uid,
            c.transfer_syntax_uid,
            c.file,
            c.data_set_offset,
            associations.c.calling_ae_title,
            sa.and_(c.pruned_at.is_(None), c.damaged_at.is_(None)),
        )
        .join(associations, associations.c.association_id == c.association_id)
        .where(c.instance_key.in_(keys))
    )
    return [(key, Stored(*rest)) for key, *rest in connection.execute(found)] if keys else []


def _group_attributes(connection: Connection, study_key: int) -> dict[int, Any]:
    found = connection.execute(
        sa.select(header_groups.c.header_group_key, header_groups.c.attributes)
        .join(series, series.c.series_key == header_groups.c.series_key)
        .where(series.c.study_key == study_key)
    )
    return {row.header_group_key: row.attributes for row in found}


def _calling_ae_titles(connection: Connection, study_key: int) -> tuple[str, ...]:
    rows = connection.execute(origins_of(study_key))
    return tuple(dict.fromkeys(r.calling_ae_title for r in rows if r.calling_ae_title))


def _shared_series(connection: Connection, study_key: int) -> tuple[tuple[str, str], ...]:
    """Return the series of this study that another study has as well, and that study's UID."""
    other = series.alias("other")
    found = connection.execute(
        sa.select(series.c.series_instance_uid, studies.c.study_instance_uid)
        .join(
            other,
            sa.and_(
                other.c.series_instance_uid == series.c.series_instance_uid,
                other.c.study_key != series.c.study_key,
            ),
        )
        .join(studies, studies.c.study_key == other.c.study_key)
        .where(series.c.study_key == study_key)
        .distinct()
    )
    return tuple(sorted((row.series_instance_uid, row.study_instance_uid) for row in found))
