"""Tokens with which programs come: made, and judged.

A token has 256 random bits, so its plain SHA-256 can be kept: there is nothing to guess from it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.requests import HTTPConnection

from intu_fhir.db.audit import record_audit
from intu_fhir.db.session import Database
from intu_fhir.db.tokens import TokenRow, find_token, note_use
from intu_fhir.errors import IntuError
from intu_fhir.model.audit import Action, AuditEvent, Outcome
from intu_fhir.observe.clock import Clock
from intu_fhir.web.access.attempts import Attempts
from intu_fhir.web.access.roles import Person, role_named

PREFIX = "intu_"
"""What tokens begin with, so that a search for secrets finds one that was left lying about."""

NOTED_EVERY = timedelta(seconds=60)
"""How exactly a token remembers when it was last used."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)
_MOST_KNOWN = 1_000


def new_token() -> str:
    """Return a token; it is shown once and kept nowhere."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_token_name(name: str) -> bool:
    """Say whether a token may have this name."""
    return _NAME.fullmatch(name) is not None


def bearer_of(connection: HTTPConnection) -> str | None:
    """Return the bearer token of a request (RFC 6750 2.1); None where it brings none.

    Another scheme is none of ours: a proxy in front may pass on the password that it asked for.
    """
    found = connection.headers.getlist("authorization")
    scheme, _, token = ", ".join(found).partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class Judged:
    """Whose token it is.

    Args:
        person: None where it opens nothing.
        wait: seconds until another unknown token from that address is looked at; 0 = none.
    """

    person: Person | None
    wait: float = 0.0


class Tokens:
    """Says whose a token is; who is revoked is out at once, since the database is always asked.

    An address that brings wrong tokens has to wait, longer each time. What was right a while ago
    is looked at all the same, so that one program with an old token keeps no other one out.
    """

    def __init__(self, database: Database, clock: Clock, attempts: Attempts) -> None:
        self._database, self._clock, self._attempts = database, clock, attempts
        self._known: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def judge(self, token: str, address: str) -> Judged:
        """Return whose token it is.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        sha256 = hash_of(token)
        key = f"token:{address}"
        wait = self._attempts.seconds_to_wait((key,), self._clock.monotonic())
        if wait > 0 and not self._was_right(sha256):
            return Judged(None, wait)
        row, now = self._find(token, sha256), self._clock.now()
        role = role_named(row.role) if row is not None and row.is_valid(now) else None
        if row is None or role is None:
            self._attempts.failed((key,), self._clock.monotonic())
            self._refuse(row, address, now)
            return Judged(None)
        self._use(row, sha256, now)
        return Judged(Person(f"token:{row.name}", role, "token"))

    def _find(self, token: str, sha256: str) -> TokenRow | None:
        if not _TOKEN.fullmatch(token):
            return None
        with self._database.read() as connection:
            return find_token(connection, sha256)

    def _was_right(self, sha256: str) -> bool:
        with self._lock:
            return sha256 in self._known

    def _refuse(self, row: TokenRow | None, address: str, now: datetime) -> None:
        """Record a token that opened nothing."""
        actor = f"token:{row.name}" if row else ""
        why = "no token of ours" if row is None else "revoked" if row.revoked_at else "expired"
        event = AuditEvent(
            Action.SIGNED_IN,
            now,
            actor,
            address=address,
            outcome=Outcome.MINOR,
            reason=f"token: {why}",
        )
        with self._database.write() as connection:
            record_audit(connection, event)

    def _use(self, row: TokenRow, sha256: str, now: datetime) -> None:
        with self._lock:
            self._known.pop(sha256, None)
            self._known[sha256] = None
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        if row.last_used_at is not None and now - row.last_used_at < NOTED_EVERY:
            return
        # A database that is busy or full is no reason to refuse who may only read.
        with contextlib.suppress(IntuError), self._database.write() as connection:
            note_use(connection, sha256, now)
