"""Which study a UID belongs to, for whoever has that of a series or an instance at hand."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.tables import instances, series, studies

_MOST = 5


def studies_with_part(connection: Connection, uid: str) -> tuple[str, list[str]]:
    """Return ``series`` or ``instance`` and the studies that have it; none where nothing does."""
    parts = (
        ("instance", instances.c.study_key, instances.c.sop_instance_uid),
        ("series", series.c.study_key, series.c.series_instance_uid),
    )
    for what, study_key, column in parts:
        found = (
            sa.select(studies.c.study_instance_uid)
            .join_from(studies, column.table, study_key == studies.c.study_key)
            .where(column == uid)
            .order_by(studies.c.study_key)
            .limit(_MOST)
        )
        if uids := list(connection.execute(found).scalars()):
            return what, uids
    return "", []
