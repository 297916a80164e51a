"""The table of tokens with which programs come to the web page's interfaces."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index, Table, text

from intu_fhir.db.kinds import UtcDateTime, given, key, moment, words
from intu_fhir.db.metadata import metadata

_VALID = text("revoked_at IS NULL")

api_tokens = Table(
    "api_tokens",
    metadata,
    key("api_token_key"),
    given("name", sa.String(64), "as the audit trail shows it, after `token:`"),
    given("role", sa.String(16), "viewer, operator or administrator"),
    Column(
        "sha256",
        sa.String(64),
        nullable=False,
        unique=True,
        comment="SHA-256 of the token, which itself is kept nowhere",
    ),
    moment("created_at", "when it was given out"),
    words("created_by", "who gave it out", length=64),
    Column("expires_at", UtcDateTime, comment="when it ends by itself; null = never"),
    Column("last_used_at", UtcDateTime, comment="when it was last used, to the minute"),
    Column("revoked_at", UtcDateTime, comment="when it was revoked; null = not"),
    words("revoked_by", "who revoked it", length=64),
    Index(
        "uq_api_tokens_name_valid",
        "name",
        unique=True,
        sqlite_where=_VALID,
        postgresql_where=_VALID,
    ),
    comment="One row per token of the API; a revoked one stays, so that its name can be explained.",
)
