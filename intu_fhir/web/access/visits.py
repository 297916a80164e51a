"""Visits: a signed cookie that says who somebody is and since when, and the tokens of its forms."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer

from intu_fhir.web.access.roles import Role, role_named

NOTED_EVERY = timedelta(seconds=60)
"""How exactly a visit remembers when something was last asked."""

_MOST_ENDED = 100_000


@dataclass(frozen=True, slots=True)
class Visit:
    """One browser's visit; ``via`` is empty where nobody has logged in.

    Args:
        proof: of the password that began it, which another password does not have.
    """

    id: str
    started: datetime
    seen: datetime
    name: str = ""
    role: Role | None = None
    via: str = ""
    proof: str = ""


class Visits:
    """Makes, reads and ends visits; nothing is stored but which ones were ended early.

    Args:
        secret: signs; whoever has it can be anybody.
        lifetime: from login to the end.
        idle: without a question to the end.
    """

    def __init__(self, secret: str, *, lifetime: timedelta, idle: timedelta) -> None:
        self._serializer = URLSafeSerializer(
            secret, salt="visit", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._key = hashlib.sha256(b"form:" + secret.encode()).digest()
        self._lifetime, self._idle = lifetime, idle
        self._ended: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def begin(
        self,
        now: datetime,
        *,
        name: str = "",
        role: Role | None = None,
        via: str = "",
        password_hash: str = "",
    ) -> Visit:
        """Begin a visit; a login begins a new one, so that nobody can have planted its id."""
        proof = self._proof(password_hash) if password_hash else ""
        return Visit(secrets.token_urlsafe(18), now, now, name, role, via, proof)

    def is_begun_with(self, visit: Visit, password_hash: str) -> bool:
        """Say whether a visit began with the password of this hash."""
        return hmac.compare_digest(self._proof(password_hash), visit.proof)

    def _proof(self, password_hash: str) -> str:
        return hmac.new(self._key, b"proof:" + password_hash.encode(), hashlib.sha256).hexdigest()

    def seal(self, visit: Visit) -> str:
        """Return the value of the cookie."""
        sealed: str | bytes = self._serializer.dumps(
            [
                visit.id,
                int(visit.started.timestamp()),
                int(visit.seen.timestamp()),
                visit.name,
                visit.role.word if visit.role else "",
                visit.via,
                visit.proof,
            ]
        )
        return sealed if isinstance(sealed, str) else sealed.decode()

    def open(self, sealed: str, now: datetime) -> Visit | None:
        """Return the visit of a cookie, or None where it is not ours, has ended or ran out."""
        try:
            visit = _visit(self._serializer.loads(sealed))
        except (BadSignature, ValueError, TypeError, OverflowError):
            return None
        ran_out = now - visit.started >= self._lifetime or now - visit.seen >= self._idle
        return None if ran_out or self._was_ended(visit.id) else visit

    def again(self, visit: Visit, now: datetime) -> Visit | None:
        """Return the visit with its new time, or None where the old one is exact enough."""
        return replace(visit, seen=now) if now - visit.seen >= NOTED_EVERY else None

    def end(self, visit: Visit, now: datetime) -> None:
        """End a visit, whoever still has its cookie."""
        with self._lock:
            over = [i for i, until in self._ended.items() if until <= now]
            for one in over:
                del self._ended[one]
            while len(self._ended) >= _MOST_ENDED:
                del self._ended[next(iter(self._ended))]
            self._ended[visit.id] = visit.started + self._lifetime

    def _was_ended(self, visit_id: str) -> bool:
        with self._lock:
            return visit_id in self._ended

    def form_token(self, visit_id: str) -> str:
        """Return what a form of this visit has to bring back."""
        return hmac.new(self._key, visit_id.encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, visit_id: str, token: str) -> bool:
        """Say whether a form belongs to this visit."""
        expected = self.form_token(visit_id).encode()
        return bool(visit_id) and hmac.compare_digest(expected, token.encode())


class SealedNote:
    """A short note that travels through a browser and back, such as the state of a login."""

    def __init__(self, secret: str, purpose: str) -> None:
        self._serializer = URLSafeSerializer(
            secret, salt=purpose, signer_kwargs={"digest_method": hashlib.sha256}
        )

    def seal(self, note: Mapping[str, Any]) -> str:
        """Sign a note."""
        sealed: str | bytes = self._serializer.dumps(dict(note))
        return sealed if isinstance(sealed, str) else sealed.decode()

    def open(self, sealed: str) -> dict[str, Any] | None:
        """Return the note, or None where it is not ours."""
        try:
            note = self._serializer.loads(sealed)
        except BadSignature:
            return None
        return note if isinstance(note, dict) else None


def _visit(values: Any) -> Visit:
    visit_id, started, seen, name, role, via, proof = values
    return Visit(
        str(visit_id),
        datetime.fromtimestamp(started, UTC),
        datetime.fromtimestamp(seen, UTC),
        str(name),
        role_named(str(role)),
        str(via),
        str(proof),
    )
