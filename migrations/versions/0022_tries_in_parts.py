"""Tries to deliver in parts by ranges of keys (PostgreSQL alone), and where logs begin.

Tries and events of the audit trail may go by age from now on. ``v_turnaround`` leaves out what
settled before the tries begin: when a destination first had it is not known any more.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

from string import Template

import sqlalchemy as sa
from alembic import op

from intu_fhir.db.dividing import Division, divide, make_whole

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | None = None
depends_on: str | None = None

_TRIES = Division(
    "attempts",
    key="attempt_key",
    refers_to="deliveries",
    by="delivery_key",
    indexes={"ix_attempts_delivery_key": "delivery_key", "ix_attempts_ended_at": "ended_at"},
    locked=("attempts", "deliveries"),
)


def upgrade() -> None:
    if _is_postgresql():
        divide(_TRIES)
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "log_beginnings",
        sa.Column("log", sa.String(32), nullable=False, comment="attempts or audit_events"),
        sa.Column("last_key", key, nullable=False, comment="key of the last row that was removed"),
        sa.Column(
            "last_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="newest time of what was removed",
        ),
        sa.Column(
            "position",
            key,
            comment="audit_events: place in the chain of the last row removed",
        ),
        sa.Column(
            "hash",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="audit_events: hash of that row, which the next one follows",
        ),
        sa.Column(
            "removed_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when rows were last removed",
        ),
        sa.PrimaryKeyConstraint("log", name=op.f("pk_log_beginnings")),
        comment="One row per log from which old rows were removed: where it begins now.",
    )
    _tell_turnaround(_KNOWN)


def downgrade() -> None:
    _tell_turnaround("")
    op.drop_table("log_beginnings")
    if _is_postgresql():
        make_whole(_TRIES)


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


_TURNAROUND = """
SELECT y.study_instance_uid, y.generation, y.destination, y.channel, y.modalities,
    y.number_of_instances, y.first_received_at, y.last_received_at, y.settled_at, y.built_at,
    y.delivered_at, $to_settle AS seconds_to_settle, $to_build AS seconds_to_build,
    $to_deliver AS seconds_to_deliver, $in_all AS seconds_in_all
FROM (
  SELECT s.study_instance_uid, g.generation, d.destination, s.channel, s.modalities,
    g.number_of_instances, s.first_received_at, g.settled_at,
    CASE WHEN g.generation = s.generation AND g.revision = s.revision THEN s.last_received_at
      ELSE (SELECT max(i.received_at) FROM instances i
            WHERE i.study_key = g.study_key AND i.received_at <= g.settled_at)
      END AS last_received_at,
    (SELECT min(r.built_at) FROM resources r
      WHERE r.study_key = g.study_key AND r.generation = g.generation) AS built_at,
    (SELECT min(t.ended_at) FROM attempts t
      WHERE t.delivery_key = d.delivery_key AND t.generation = g.generation
        AND t.outcome = 'delivered') AS delivered_at
  FROM generations g
  JOIN studies s ON s.study_key = g.study_key
  JOIN deliveries d ON d.study_key = g.study_key$known
) y"""
_KNOWN = """
  WHERE NOT EXISTS (SELECT 1 FROM log_beginnings b
    WHERE b.log = 'attempts' AND b.last_at >= g.settled_at)"""
_SPANS = {
    "to_settle": ("y.last_received_at", "y.settled_at"),
    "to_build": ("y.settled_at", "y.built_at"),
    "to_deliver": ("y.built_at", "y.delivered_at"),
    "in_all": ("y.last_received_at", "y.delivered_at"),
}


def _tell_turnaround(known: str) -> None:
    """Write the view anew; where it can be replaced, whoever may read it still may."""
    words = {"known": known}
    for name, (begin, end) in _SPANS.items():
        words[name] = (
            f"CAST(round(extract(epoch FROM {end} - {begin}), 3) AS double precision)"
            if _is_postgresql()
            else f"round((julianday({end}) - julianday({begin})) * 86400.0, 3)"
        )
    query = Template(_TURNAROUND).substitute(words)
    if _is_postgresql():
        op.execute(f"CREATE OR REPLACE VIEW v_turnaround AS{query}")
        return
    op.execute("DROP VIEW v_turnaround")
    op.execute(f"CREATE VIEW v_turnaround AS{query}")
