"""The table of what all workers know of a destination as a whole."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Table

from intu_fhir.db.kinds import UtcDateTime, count, moment, words
from intu_fhir.db.metadata import metadata

destination_states = Table(
    "destination_states",
    metadata,
    Column(
        "destination",
        sa.String(64),
        primary_key=True,
        comment="name of the destination in intu.yaml",
    ),
    Column("paused_at", UtcDateTime, comment="since when nothing is sent to it; null = not paused"),
    words("paused_by", "who paused it", length=64),
    words("pause_reason", "why, in the words of who paused it"),
    Column(
        "breaker",
        sa.String(16),
        nullable=False,
        server_default="closed",
        comment="closed, open (it does not answer: only probes go out) or half_open (it "
        "answers again, and gets more and more)",
    ),
    count("silences", "deliveries in a row that did not reach it"),
    Column("opened_at", UtcDateTime, comment="when the breaker opened"),
    Column("next_probe_at", UtcDateTime, comment="when one delivery tries whether it answers"),
    count("probes", "probes since the breaker opened"),
    Column(
        "allowed",
        sa.Integer,
        comment="studies on their way at the same time while it recovers; null = as configured",
    ),
    Column("free_at", UtcDateTime, comment="when its rate limit lets the next study go"),
    words("last_error", "why it was not reached the last time"),
    moment("updated_at", "when the row last changed"),
    comment="One row per destination that was paused, was not reached, or has a rate limit.",
)
