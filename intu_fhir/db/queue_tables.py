"""The tables of the queue; ``db.work`` explains them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Index, Table, UniqueConstraint, text

from intu_fhir.db.kinds import UtcDateTime, count, flag, given, key, moment, of_study, words
from intu_fhir.db.metadata import due_index, lease_index, metadata


def _claim_columns() -> list[Column[Any]]:
    """Columns of a row that workers claim; ``db.work`` explains them."""
    return [
        given("want", sa.Integer, "newest generation wanted here"),
        count("have", "newest done"),
        Column(
            "state",
            sa.String(16),
            nullable=False,
            server_default="waiting",
            comment="waiting, running, retrying, done, delivered, dead, held or filtered",
        ),
        Column("due_at", UtcDateTime, comment="when to work on it; null = nothing to do"),
        count("attempts", "tries that failed since the last success"),
        Column("first_failed_at", UtcDateTime, comment="when the failing began"),
        Column("last_failed_at", UtcDateTime, comment="when the last try failed"),
        words("last_error", "why the last try failed"),
        words("cause", "the same without what is true of this study alone", length=200),
        flag("backlog", "whether it failed or was put back: fresh work goes first"),
        words("lease_holder", "worker that has it", length=64),
        Column("lease_until", UtcDateTime, comment="when that worker loses it"),
        count("fence", "number of the lease; an older one can write nothing"),
        moment("updated_at", "when the row last changed"),
        words("trace_parent", "span that asked for it (W3C traceparent), if traced", length=64),
    ]


_IS_DEAD = sa.text("state = 'dead'")

work = Table(
    "work",
    metadata,
    key("work_key"),
    of_study(),
    given("step", sa.String(16), "aggregate or build"),
    *_claim_columns(),
    UniqueConstraint("study_key", "step"),
    due_index("ix_work_due", "step", "backlog", "due_at"),
    lease_index("ix_work_leased", "step", "lease_until"),
    Index("ix_work_dead", "step", sqlite_where=_IS_DEAD, postgresql_where=_IS_DEAD),
    comment="One row per study and step before delivery; deliveries has the like.",
)

deliveries = Table(
    "deliveries",
    metadata,
    key("delivery_key"),
    of_study(),
    given("destination", sa.String(64), "name of the destination in intu.yaml"),
    *_claim_columns(),
    Column("delivered_at", UtcDateTime, comment="when the destination last confirmed"),
    words("server_id", "id of the resource at the FHIR server", length=64),
    words("server_version", "its version there", length=64),
    words(
        "content_hash", "SHA-256 of what was delivered; equal content is not sent again", length=64
    ),
    words("last_status", "the destination's last answer, such as HTTP 201 or 0000", length=64),
    words("warning", "what the destination remarked on a success"),
    words("reason", "why the study is left out here, or what is waited for"),
    words("follows", "destination that has to have the study first, while it has not", length=64),
    words(
        "commitment",
        "the PACS's promise to keep it: asked, committed, refused or missing; empty = never asked "
        "for",
        length=16,
    ),
    Column("committed_at", UtcDateTime, comment="when the PACS had promised to keep all of it"),
    count("committed_generation", "newest generation that it has promised to keep"),
    UniqueConstraint("study_key", "destination"),
    due_index("ix_deliveries_due", "destination", "backlog", "due_at"),
    lease_index("ix_deliveries_leased", "destination", "lease_until"),
    Index("ix_deliveries_state", "state", "destination", "cause"),
    Index("ix_deliveries_delivered_at", "destination", "delivered_at"),
    Index(
        "ix_deliveries_follows",
        "study_key",
        sqlite_where=text("follows <> ''"),
        postgresql_where=text("follows <> ''"),
    ),
    comment="One row per study and destination: what should be there and what is.",
)
