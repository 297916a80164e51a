"""The table of the audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index, Table, text

from intu_fhir.db.kinds import Key, count, given, key, moment, words
from intu_fhir.db.metadata import metadata

_UNSEALED = text("position IS NULL")

audit_events = Table(
    "audit_events",
    metadata,
    key("audit_event_key"),
    Column("event_id", sa.String(36), nullable=False, unique=True, comment="UUID of the event"),
    moment("happened_at", "when it happened"),
    given("action", sa.String(32), "what was done, such as accepted or published"),
    given("outcome", sa.String(16), "success, minor, serious or major (failure)"),
    words("actor", "who: a login, an AE title or a process of ours", length=128),
    given("actor_kind", sa.String(16), "person, device or program"),
    words("address", "network address the actor came from", length=64),
    words("study_instance_uid", length=64),
    words("association_id", "the association or import", length=32),
    words("destination", "name of the destination in intu.yaml", length=64),
    count("objects", "how many instances, deliveries or rows it was about"),
    words("reason", "why, or what the far side said"),
    Column(
        "position",
        Key,
        unique=True,
        comment="place in the chain, from 1; null = to be sealed within seconds",
    ),
    words("previous_hash", "hash of the row before it in the chain", length=64),
    words("hash", "SHA-256 of this row and of previous_hash", length=64),
    Index("ix_audit_events_happened_at", "happened_at"),
    Index("ix_audit_events_study_instance_uid", "study_instance_uid"),
    Index(
        "ix_audit_events_unsealed",
        "audit_event_key",
        sqlite_where=_UNSEALED,
        postgresql_where=_UNSEALED,
    ),
    comment="Who did what and when; a chain of hashes shows what was changed or removed.",
)
