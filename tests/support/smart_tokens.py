"""A token endpoint that judges assertions as SMART Backend Services says, to the second."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.support.assertions import verified_claims
from tests.support.clock import FakeClock
from tests.support.far_sides import Peer

_LONGEST = timedelta(minutes=5)


class SmartTokens:
    """Hands out numbered tokens for assertions that are valid now, each once.

    Args:
        ahead: how far its clock is ahead of the client's.
    """

    def __init__(self, clock: FakeClock, ahead: timedelta = timedelta()) -> None:
        self.clock, self.ahead = clock, ahead
        self.published: dict[str, rsa.RSAPublicKey | ec.EllipticCurvePublicKey] = {}
        self.seen: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.good: set[str] = set()
        self.drop_next = False
        self._lock = threading.Lock()

    def judge(self, header: str) -> bool:
        """Say whether a FHIR server takes this Authorization header."""
        return header in self.good

    def behave(self, peer: Peer) -> None:
        """Answer one connection."""
        while True:
            _, body = peer.request()
            assertion = parse_qs(body.decode())["client_assertion"][0]
            with self._lock:
                answer = self._answer(assertion)
                dropped, self.drop_next = self.drop_next, False
            if dropped:
                return
            status = 200 if "access_token" in answer else 400
            peer.reply(status, json.dumps(answer).encode(), Date=self._date())

    def _date(self) -> str:
        return format_datetime(self.clock.now() + self.ahead, usegmt=True)

    def _answer(self, assertion: str) -> dict[str, Any]:
        kid = jwt.get_unverified_header(assertion)["kid"]
        refusal = self._objection(kid, assertion)
        self.asked.append((kid, refusal))
        if refusal:
            return {"error": "invalid_client", "error_description": refusal}
        token = f"token-{len(self.asked)}"
        self.good.add(f"Bearer {token}")
        return {"access_token": token, "token_type": "bearer", "expires_in": 300}

    def _objection(self, kid: str, assertion: str) -> str:
        if kid not in self.published:
            return "unknown key"
        try:
            claims = verified_claims(assertion, self.published[kid])
        except InvalidSignature:
            return "wrong signature"
        now = (self.clock.now() + self.ahead).timestamp()
        if not now < claims["exp"] <= now + _LONGEST.total_seconds():
            return "expired, or good for too long"
        if claims["iat"] > now:
            return "issued in the future"
        if claims["jti"] in self.seen:
            return "used before"
        self.seen.append(claims["jti"])
        return ""
