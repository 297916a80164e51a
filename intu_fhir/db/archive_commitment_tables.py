"""The table of what PACS are asked to promise (PS3.4 annex J, as SCU)."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index, Table

from intu_fhir.db.kinds import Uid, UtcDateTime, count, flag, given, key, moment, refers, words
from intu_fhir.db.metadata import due_index, metadata

archive_commitments = Table(
    "archive_commitments",
    metadata,
    key("request_key"),
    refers("delivery_key", "deliveries.delivery_key", "the delivery whose images it is about"),
    given("destination", sa.String(64), "name of the destination in intu.yaml"),
    Column(
        "transaction_uid", Uid, nullable=False, unique=True, comment="Transaction UID (0008,1195)"
    ),
    given(
        "state",
        sa.String(16),
        "planned, asking, asked, committed, failed, unanswered, rejected or dropped",
    ),
    given("number", sa.Integer, "try to get a promise for the same instances, from 1"),
    given("number_of_instances", sa.Integer, "instances asked for"),
    count("failed", "of these, instances that the PACS does not promise to keep"),
    moment("planned_at", "when it was decided to ask"),
    Column("asked_at", UtcDateTime, comment="when the PACS took the request"),
    Column("answered_at", UtcDateTime, comment="when its result came"),
    Column("due_at", UtcDateTime, comment="when to work on it; null = it has ended"),
    count("attempts", "tries to send it that did not reach the PACS"),
    words("last_error", "why it was not taken, not answered or not promised"),
    flag("given_up", "whether a person was asked instead of the PACS once more"),
    count("fence", "number of the claim; an older one can write nothing"),
    due_index("ix_archive_commitments_due", "destination", "state", "due_at"),
    Index("ix_archive_commitments_delivery_key", "delivery_key"),
    comment="One row per request to a PACS to promise that it keeps images (PS3.4 annex J).",
)
