"""Tokens of the API.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_VALID = sa.text("revoked_at IS NULL")


def _moment(name: str, comment: str, *, always: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not always, comment=comment)


def _words(name: str, comment: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(64), server_default="", nullable=False, comment=comment)


def upgrade() -> None:
    op.create_table(
        "api_tokens",
        sa.Column(
            "api_token_key",
            _KEY,
            autoincrement=True,
            nullable=False,
            comment="made by the database",
        ),
        sa.Column(
            "name",
            sa.String(64),
            nullable=False,
            comment="as the audit trail shows it, after `token:`",
        ),
        sa.Column(
            "role", sa.String(16), nullable=False, comment="viewer, operator or administrator"
        ),
        sa.Column(
            "sha256",
            sa.String(64),
            nullable=False,
            comment="SHA-256 of the token, which itself is kept nowhere",
        ),
        _moment("created_at", "when it was given out", always=True),
        _words("created_by", "who gave it out"),
        _moment("expires_at", "when it ends by itself; null = never"),
        _moment("last_used_at", "when it was last used, to the minute"),
        _moment("revoked_at", "when it was revoked; null = not"),
        _words("revoked_by", "who revoked it"),
        sa.PrimaryKeyConstraint("api_token_key", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_tokens_sha256")),
        comment="One row per token of the API; a revoked one stays, so that its name can be "
        "explained.",
    )
    op.create_index(
        "uq_api_tokens_name_valid",
        "api_tokens",
        ["name"],
        unique=True,
        sqlite_where=_VALID,
        postgresql_where=_VALID,
    )


def downgrade() -> None:
    op.drop_index("uq_api_tokens_name_valid", table_name="api_tokens")
    op.drop_table("api_tokens")
