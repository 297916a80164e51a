"""Complete headers in parts by ranges of keys; PostgreSQL alone.

The table becomes the one part that holds everything: nothing is copied and nothing is read, so that
its locks are held for moments. Programs of the version before write to it as they did.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | None = None
depends_on: str | None = None

_FIRST = "headers_0001"
_FOREIGN_KEY = "fk_headers_instance_key_instances"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    _take_tables()
    op.rename_table("headers", _FIRST)
    op.execute(f"ALTER TABLE {_FIRST} RENAME CONSTRAINT pk_headers TO {_FIRST}_pkey")
    _make_table()
    op.execute(
        f"ALTER TABLE headers ATTACH PARTITION {_FIRST} FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    _take_tables()
    op.execute(f"ALTER TABLE headers DETACH PARTITION {_FIRST}")
    op.execute(f"ALTER TABLE {_FIRST} DROP CONSTRAINT IF EXISTS cut_{_FIRST}")
    op.rename_table("headers", "headers_in_parts")
    op.execute("ALTER TABLE headers_in_parts RENAME CONSTRAINT pk_headers TO pk_headers_in_parts")
    op.rename_table(_FIRST, "headers")
    op.execute(f"ALTER TABLE headers RENAME CONSTRAINT {_FIRST}_pkey TO pk_headers")
    # What the other parts hold is copied, for as long as that takes: everything stands still.
    op.execute("SET LOCAL statement_timeout = 0")
    op.execute(
        "INSERT INTO headers SELECT instance_key, dicom_json, findings FROM headers_in_parts"
    )
    op.execute("DROP TABLE headers_in_parts")


def _take_tables() -> None:
    """Wait for both tables, in the order in which whoever describes an instance takes them.

    What comes changes the triggers of ``instances``, for which it needs that table alone. Asked
    for later than here, a receiver would wait for it and it for the receiver; and it gives up
    before PostgreSQL looks for such a circle (``deadlock_timeout``, a second) and ends any of them.
    """
    op.execute("SET LOCAL lock_timeout = '800ms'")
    op.execute("LOCK TABLE headers IN ACCESS EXCLUSIVE MODE")
    op.execute("LOCK TABLE instances IN ACCESS EXCLUSIVE MODE")


def _make_table() -> None:
    """Make the table as it is in the first migration, in parts."""
    op.create_table(
        "headers",
        sa.Column(
            "instance_key",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="the instance",
        ),
        sa.Column(
            "dicom_json",
            postgresql.JSONB(),
            nullable=False,
            comment="complete header, PS3.18 annex F",
        ),
        sa.Column("findings", postgresql.JSONB(), comment="what could not be decoded, and why"),
        sa.ForeignKeyConstraint(["instance_key"], ["instances.instance_key"], name=_FOREIGN_KEY),
        sa.PrimaryKeyConstraint("instance_key", name="pk_headers"),
        comment="The complete header of each described instance.",
        postgresql_partition_by="RANGE (instance_key)",
    )
