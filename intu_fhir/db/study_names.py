"""What people call a study by, for lists of something else that name studies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.tables import instances, studies


@dataclass(frozen=True, slots=True)
class StudyName:
    """What people call a study by; none of it has to be there."""

    patient_name: str
    patient_id: str
    accession_number: str
    study_date: str
    study_description: str
    modalities: str


def study_names(connection: Connection, uids: Collection[str]) -> Mapping[str, StudyName]:
    """Return the names of those studies that are staged, by Study Instance UID."""
    c = studies.c
    rows = connection.execute(
        sa.select(
            c.study_instance_uid,
            c.patient_name,
            c.patient_id,
            c.accession_number,
            c.study_date,
            c.study_description,
            c.modalities,
        ).where(c.study_instance_uid.in_(sorted(set(uids))))
    )
    return {uid: StudyName(*values) for uid, *values in rows}


def studies_of(connection: Connection, sop_instance_uids: Collection[str]) -> Mapping[str, str]:
    """Return in which study an instance is staged, by SOP Instance UID."""
    rows = connection.execute(
        sa.select(instances.c.sop_instance_uid, studies.c.study_instance_uid)
        .join_from(instances, studies, studies.c.study_key == instances.c.study_key)
        .where(instances.c.sop_instance_uid.in_(sorted(set(sop_instance_uids))))
    )
    return {row.sop_instance_uid: row.study_instance_uid for row in rows}
