"""Studies as staged: their signs of life, their headers, their generations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.columns import SERIES_COLUMNS, STUDY_COLUMNS
from intu_fhir.db.tables import (
    association_studies,
    associations,
    generations,
    header_groups,
    instances,
    series,
    studies,
    work,
)
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.model.settling import StudyActivity
from intu_fhir.model.study import Study
from intu_fhir.model.values import MOST_CHARACTERS, Values, is_number, text
from intu_fhir.model.work import AGGREGATE, WAITING


def study_activity(connection: Connection, study_key: int) -> StudyActivity:
    """Return the signs of life of a study."""
    row = connection.execute(sa.select(studies).where(studies.c.study_key == study_key)).one()
    origins = connection.execute(origins_of(study_key)).all()
    return StudyActivity(
        study_key=study_key,
        study_instance_uid=row.study_instance_uid,
        channels=tuple(dict.fromkeys(origin.channel for origin in origins)),
        revision=row.revision,
        generation=row.generation,
        last_received_at=row.last_received_at,
        number_of_instances=row.number_of_instances,
        open_associations=sum(origin.ended_at is None for origin in origins),
        undescribed=_undescribed(connection, study_key),
        expected_instances=_expected(connection, study_key),
        settle_requested_by=row.settle_requested_by,
    )


def origins_of(study_key: int) -> sa.Select[Any]:
    """The associations that brought a study, the first one first."""
    return (
        sa.select(associations.c.channel, associations.c.ended_at, associations.c.calling_ae_title)
        .join(
            association_studies,
            association_studies.c.association_id == associations.c.association_id,
        )
        .where(association_studies.c.study_key == study_key)
        .order_by(associations.c.started_at, associations.c.association_id)
    )


def traces_of(connection: Connection, study_key: int) -> list[str]:
    """Return the spans of the associations that brought a study, the newest first."""
    found = (
        sa.select(associations.c.trace_parent)
        .join(
            association_studies,
            association_studies.c.association_id == associations.c.association_id,
        )
        .where(association_studies.c.study_key == study_key, associations.c.trace_parent != "")
        .order_by(associations.c.started_at.desc(), associations.c.association_id)
        .limit(_MOST_LINKS)
    )
    return list(connection.execute(found).scalars())


_MOST_LINKS = 32


def _undescribed(connection: Connection, study_key: int) -> int:
    counted = sa.select(sa.func.count()).where(
        instances.c.study_key == study_key, instances.c.described_at.is_(None)
    )
    return int(connection.execute(counted).scalar_one())


def _expected(connection: Connection, study_key: int) -> int | None:
    """Return the largest number of instances that a header of the study announces."""
    attributes = connection.execute(
        sa.select(header_groups.c.attributes)
        .join(series, series.c.series_key == header_groups.c.series_key)
        .where(series.c.study_key == study_key)
    ).scalars()
    numbers = [text(values, "NumberOfStudyRelatedInstances") for values in attributes]
    return max((int(n) for n in numbers if is_number(n)), default=None)


def channels_of(connection: Connection, study_key: int) -> tuple[str, ...]:
    """Return the channels a study came through, the first one first."""
    return tuple(dict.fromkeys(row.channel for row in connection.execute(origins_of(study_key))))


def record_generation(
    connection: Connection,
    study: Study,
    *,
    study_key: int,
    revision: int,
    evidence: str,
    detail: str,
    now: datetime,
) -> None:
    """Record that a study settled, and show the merged values in its columns.

    ``lock_study`` first.
    """
    connection.execute(
        sa.insert(generations).values(
            study_key=study_key,
            generation=study.generation,
            revision=revision,
            settled_at=now,
            evidence=evidence,
            evidence_detail=detail,
            number_of_series=len(study.series),
            number_of_instances=study.number_of_instances,
        )
    )
    modalities = sorted({text(s.values, "Modality").upper() for s in study.series} - {""})
    # Two receivers that add a series each at the same moment do not see each other's.
    all_series = sa.select(sa.func.count()).where(series.c.study_key == study_key)
    connection.execute(
        sa.update(studies)
        .where(studies.c.study_key == study_key)
        .values(
            generation=study.generation,
            settle_requested_by=None,
            number_of_series=all_series.scalar_subquery(),
            modalities=",".join(modalities)[:256],
            **_merged(STUDY_COLUMNS, study.values),
        )
    )
    for one in study.series:
        connection.execute(
            sa.update(series)
            .where(series.c.study_key == study_key, series.c.series_instance_uid == one.uid)
            .values(**_merged(SERIES_COLUMNS, one.values))
        )


def _merged(columns: Mapping[str, str], values: Any) -> dict[str, str]:
    """Return the columns, cut as they were at reception: an index takes no more."""
    return {c: text(values, keyword)[:MOST_CHARACTERS] for c, keyword in columns.items()}


def generation_revision(connection: Connection, study_key: int, generation: int) -> int:
    """Return the revision that a generation was settled on."""
    return int(
        connection.execute(
            sa.select(generations.c.revision).where(
                generations.c.study_key == study_key, generations.c.generation == generation
            )
        ).scalar_one()
    )


def request_settling(
    connection: Connection, uid: str, *, by: str, now: datetime, address: str = ""
) -> bool:
    """Ask for a study to be settled at once; return False where it has nothing to settle.

    Args:
        address: where who asks comes from, where they are not at the machine.
    """
    key = connection.execute(
        sa.update(studies)
        .where(studies.c.study_instance_uid == uid)
        .values(settle_requested_by=by)
        .returning(studies.c.study_key)
    ).scalar_one_or_none()
    if key is None:
        return False
    due = connection.execute(
        sa.update(work)
        .where(work.c.study_key == key, work.c.step == AGGREGATE, work.c.want > work.c.have)
        .values(due_at=now, state=WAITING, attempts=0, updated_at=now)
    )
    if due.rowcount == 0:
        connection.execute(
            sa.update(studies).where(studies.c.study_key == key).values(settle_requested_by=None)
        )
        return False
    event = AuditEvent(Action.SETTLED, now, by, address=address, study_instance_uid=uid)
    record_audit(connection, event)
    return True


def demographics(connection: Connection, study_key: int) -> Values:
    """Return the patient of a study by DICOM keyword, as merged."""
    row = connection.execute(sa.select(studies).where(studies.c.study_key == study_key)).one()
    return {
        keyword: getattr(row, column)
        for column, keyword in STUDY_COLUMNS.items()
        if column in _PATIENT and getattr(row, column)
    }


_PATIENT = frozenset(
    {"patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex"}
)


def study_key_of(connection: Connection, uid: str) -> int | None:
    """Return the key of a study, or None where it was never received."""
    found = sa.select(studies.c.study_key).where(studies.c.study_instance_uid == uid)
    key: int | None = connection.execute(found).scalar_one_or_none()
    return key
