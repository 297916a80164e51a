"""The instances of one series, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.conditions import given
from intu_fhir.db.tables import instances, series


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance as staged; ``described_at`` is None until its complete header was read."""

    instance_key: int
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: str
    number_of_frames: str
    data_set_bytes: int
    received_at: datetime
    described_at: datetime | None


def list_instances(
    connection: Connection,
    study_key: int,
    series_instance_uid: str,
    *,
    after: int | None = None,
    limit: int = 200,
) -> list[InstanceRow]:
    """Return instances in the order in which they came.

    Args:
        after: key of the last instance of the page before.
    """
    c = instances.c
    found = (
        sa.select(*(c[name] for name in InstanceRow.__slots__))
        .join(series, series.c.series_key == c.series_key)
        .where(
            series.c.study_key == study_key,
            series.c.series_instance_uid == series_instance_uid,
            *given(c.instance_key.__gt__, after),
        )
        .order_by(c.instance_key)
        .limit(limit)
    )
    return [InstanceRow(**row) for row in connection.execute(found).mappings()]
