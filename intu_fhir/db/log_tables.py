"""The table that says where logs begin, whose old rows were removed."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Table

from intu_fhir.db.kinds import Key, given, moment, words
from intu_fhir.db.metadata import metadata

log_beginnings = Table(
    "log_beginnings",
    metadata,
    Column("log", sa.String(32), primary_key=True, comment="attempts or audit_events"),
    given("last_key", Key, "key of the last row that was removed"),
    moment("last_at", "newest time of what was removed"),
    Column("position", Key, comment="audit_events: place in the chain of the last row removed"),
    words("hash", "audit_events: hash of that row, which the next one follows", length=64),
    moment("removed_at", "when rows were last removed"),
    comment="One row per log from which old rows were removed: where it begins now.",
)
