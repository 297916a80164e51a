"""Tokens of the API: given out, found again, revoked. The table knows only their hashes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.tables import api_tokens
from intu_fhir.db.upsert import insert
from intu_fhir.model.audit import Action, AuditEvent

_NAME = 64


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token, for people to look at.

    Args:
        expires_at: when it ends by itself; None = never.
        last_used_at: to the minute; None = never.
        revoked_at: None = not revoked.
    """

    name: str
    role: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str

    def is_valid(self, now: datetime) -> bool:
        """Say whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


_COLUMNS = tuple(getattr(api_tokens.c, name) for name in TokenRow.__slots__)


def add_token(
    connection: Connection,
    name: str,
    *,
    role: str,
    sha256: str,
    expires_at: datetime | None,
    by: str,
    now: datetime,
) -> bool:
    """Keep a new token; False where another one of this name is not revoked."""
    row = insert(connection, api_tokens).values(
        name=name,
        role=role,
        sha256=sha256,
        expires_at=expires_at,
        created_at=now,
        created_by=by[:_NAME],
    )
    added = row.on_conflict_do_nothing().returning(api_tokens.c.api_token_key)
    if connection.execute(added).first() is None:
        return False
    until = f", until {expires_at:%Y-%m-%d}" if expires_at else ""
    reason = f"token {name} as {role}{until}"
    record_audit(connection, AuditEvent(Action.GRANTED, now, by, reason=reason))
    return True


def find_token(connection: Connection, sha256: str) -> TokenRow | None:
    """Return the token of a hash, also one that has ended."""
    found = connection.execute(
        sa.select(*_COLUMNS).where(api_tokens.c.sha256 == sha256)
    ).one_or_none()
    return TokenRow(*found) if found else None


def list_tokens(connection: Connection, *, revoked: bool, limit: int) -> list[TokenRow]:
    """Return tokens, the newest first."""
    wanted = sa.select(*_COLUMNS).order_by(api_tokens.c.api_token_key.desc()).limit(limit)
    if not revoked:
        wanted = wanted.where(api_tokens.c.revoked_at.is_(None))
    return [TokenRow(*row) for row in connection.execute(wanted)]


def revoke_token(connection: Connection, name: str, *, by: str, now: datetime) -> bool:
    """End a token at once; False where none of this name is left to revoke."""
    c = api_tokens.c
    ended = connection.execute(
        sa.update(api_tokens)
        .where(c.name == name, c.revoked_at.is_(None))
        .values(revoked_at=now, revoked_by=by[:_NAME])
    )
    if not ended.rowcount:
        return False
    record_audit(connection, AuditEvent(Action.REVOKED, now, by, reason=f"token {name}"))
    return True


def note_use(connection: Connection, sha256: str, now: datetime) -> None:
    """Remember when a token was last used."""
    used = sa.update(api_tokens).where(api_tokens.c.sha256 == sha256)
    connection.execute(used.values(last_used_at=now))
