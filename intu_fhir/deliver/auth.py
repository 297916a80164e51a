"""How a FHIR server learns who asks: nothing, basic, bearer, OAuth 2, SMART Backend Services.

A token is fetched once, shared by all threads, renewed at 80 % of its life and once more where a
server refuses it early. Nothing of it is ever part of a message.
"""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import jwt

from intu_fhir.deliver.answers import Answer, said, words
from intu_fhir.deliver.exchange import Exchange
from intu_fhir.deliver.keys import KeyFile, SigningKey
from intu_fhir.deliver.scrub import scrub
from intu_fhir.deliver.waits import http_date
from intu_fhir.errors import PermanentError, TransientError
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import (
    Auth,
    BasicAuth,
    BearerAuth,
    OAuth2Auth,
    SmartBackendAuth,
)

_RENEW_AT = 0.8
_EXCHANGES = 3
"""Requests that make a token: discovery, and one more try where the server's clock differs."""
_DEFAULT_LIFE = 300.0
_ASSERTION_LIFE = timedelta(minutes=4)
_CLOCK_SKEW = timedelta(seconds=30)
_MUCH = timedelta(seconds=20)
_MOST_AHEAD = timedelta(minutes=10)
"""A clock that is further off is set right by a person; nothing is signed for a far future."""

_NOT_THE_ASSERTION = frozenset({"invalid_scope", "unauthorized_client", "unsupported_grant_type"})
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class TokenRefused(PermanentError):
    """The token endpoint does not accept this client; a person has to look."""


class TokenUnavailable(TransientError):
    """The token endpoint does not work at the moment."""


class Authorizer(Protocol):
    """Gives the Authorization header of requests to one FHIR server."""

    def header(self) -> str:
        """Return its value, or nothing.

        Raises:
            TokenRefused, TokenUnavailable, NoAnswer: no token came.
        """
        ...

    def renew(self, refused: str) -> bool:
        """Replace a header that the server refused; False where there is no other one."""
        ...

    def secrets(self) -> Iterable[str]:
        """Return every value that must not get into a message."""
        ...


@dataclass(frozen=True)
class FixedHeader:
    """A header that does not change."""

    value: str = ""
    hidden: tuple[str, ...] = ()

    def header(self) -> str:
        """Return the configured value."""
        return self.value

    def renew(self, refused: str) -> bool:
        """Say that there is no other value."""
        return False

    def secrets(self) -> Iterable[str]:
        """Return the credentials."""
        return self.hidden


class TokenHeader:
    """A bearer token from a token endpoint, shared by all threads.

    One thread fetches; those that need a token meanwhile wait for it and share what comes of it, a
    failure too. Each trying by itself in its turn would wait for the sum of all their time-outs.

    Args:
        wait_seconds: so long a thread waits for another one's fetch.
    """

    def __init__(
        self,
        request_token: Callable[[], Answer],
        clock: Clock,
        *hidden: str,
        wait_seconds: float,
    ) -> None:
        self._request_token, self._clock, self._hidden = request_token, clock, hidden
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._fetching: Future[str] | None = None
        self._header = ""
        self._renew_at = 0.0

    def header(self) -> str:
        """Return the header with a token that is good for a while."""
        with self._lock:
            if self._header and self._clock.monotonic() < self._renew_at:
                return self._header
            others, ours = self._fetching, self._begin()
        return self._share(ours) if others is None else self._wait_for(others)

    def renew(self, refused: str) -> bool:
        """Let the next header have another token, unless it has one already."""
        with self._lock:
            if self._header == refused:
                self._header = ""
        return True

    def secrets(self) -> Iterable[str]:
        """Return the client's secret and the token."""
        return (*self._hidden, self._header.removeprefix("Bearer "))

    def _begin(self) -> Future[str]:
        """Return the fetch that is on its way, or a new one."""
        self._fetching = self._fetching or Future()
        return self._fetching

    def _share(self, fetch: Future[str]) -> str:
        """Fetch a token, and tell all that wait for it what came of it."""
        try:
            header = self._fetch()
        except BaseException as error:
            fetch.set_exception(error)
            raise
        else:
            fetch.set_result(header)
            return header
        finally:
            with self._lock:
                self._fetching = None

    def _wait_for(self, fetch: Future[str]) -> str:
        try:
            return fetch.result(self._wait_seconds)
        except TimeoutError:
            raise TokenUnavailable(
                "The token endpoint takes too long for another study; it is tried again by itself"
            ) from None

    def _fetch(self) -> str:
        self._header = ""
        answer = self._request_token()
        token = answer.json() or {}
        value = words(token.get("access_token"))
        if answer.status != 200 or not value or not value.isascii() or not value.isprintable():
            raise self._refusal(answer, token)
        self._renew_at = self._clock.monotonic() + _RENEW_AT * _life(token.get("expires_in"))
        self._header = header = f"Bearer {value}"
        return header

    def _refusal(self, answer: Answer, token: dict[str, Any]) -> TokenRefused | TokenUnavailable:
        """Tell a client that is not accepted from an endpoint that does not work (RFC 6749 5.2)."""
        code = words(token.get("error"))
        described = ": ".join(filter(None, (code, words(token.get("error_description")))))
        what = scrub(described or said(answer), self.secrets())[:300]
        message = f"The token endpoint answers HTTP {answer.status}" + (
            f" ({what})" if what else ""
        )
        ahead = clock_difference(answer, self._clock)
        if abs(ahead) > _MUCH:
            message += f"; its clock and ours differ by {abs(ahead).total_seconds():.0f} s"
        if answer.status >= 500 or answer.status in {200, 408, 425, 429}:
            return TokenUnavailable(f"{message}; it is tried again by itself")
        return TokenRefused(
            f"{message}; check client id, key, kid, scope and clock, restart, then replay"
        )


def _life(expires_in: Any) -> float:
    """Return how long a token lives in seconds; some servers say it in a string."""
    try:
        life = float(expires_in)
    except (TypeError, ValueError):
        return _DEFAULT_LIFE
    return life if 0 < life < 10**7 else _DEFAULT_LIFE


@dataclass(frozen=True)
class ClientCredentials:
    """The token request of OAuth 2 client credentials (RFC 6749 4.4)."""

    settings: OAuth2Auth
    exchange: Exchange

    def __call__(self) -> Answer:
        """Ask for a token; the secret goes by HTTP basic, as RFC 6749 2.3.1 prefers."""
        fields = {"grant_type": "client_credentials"}
        if self.settings.scope:
            fields["scope"] = self.settings.scope
        # The user and the password of this basic authorization are form-encoded first.
        user = quote(self.settings.client_id, safe="")
        authorization = _basic(user, quote(self.settings.client_secret, safe=""))
        return _post_form(self.exchange, self.settings.token_url, fields, authorization)


def clock_difference(answer: Answer, clock: Clock) -> timedelta:
    """Return how far a server's clock is ahead of ours; nothing where it does not say."""
    theirs = http_date(answer.headers.get("date", ""))
    return theirs - clock.now() if theirs else timedelta()


@dataclass
class SmartAssertion:
    """The token request of SMART Backend Services (SMART App Launch 2, asymmetric client).

    What the server refuses is tried with the server's own time, where that differs, and with each
    key of the file.

    Args:
        ahead: how far the server's clock is ahead of ours, as it said with a refusal.
    """

    settings: SmartBackendAuth
    base_url: str
    exchange: Exchange
    clock: Clock
    keys: KeyFile
    ahead: timedelta = timedelta()

    def __call__(self) -> Answer:
        """Ask for a token, each time with an assertion of its own."""
        url = self.settings.token_url or self._discover()
        for key in (keys := self.keys.keys()):
            answer = self._ask(url, key)
            if _refuses_the_assertion(answer) and self._takes_their_time(answer):
                answer = self._ask(url, key)
            if not _refuses_the_assertion(answer) or key is keys[-1]:
                break
        return answer

    def _ask(self, url: str, key: SigningKey) -> Answer:
        fields = {
            "grant_type": "client_credentials",
            "scope": self.settings.scope,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": self.assertion(url, key),
        }
        return _post_form(self.exchange, url, fields)

    def _takes_their_time(self, answer: Answer) -> bool:
        """Take over the time of the server; False where that would change nothing."""
        ahead = clock_difference(answer, self.clock)
        if abs(ahead) > _MOST_AHEAD or abs(ahead - self.ahead) < _MUCH:
            return False
        self.ahead = ahead
        return True

    def assertion(self, audience: str, key: SigningKey) -> str:
        """Return a signed JWT for one token request.

        ``nbf`` stays out and ``iat`` is set back, since servers' clocks differ a little.
        """
        now = self.clock.now() + self.ahead
        claims = {
            "iss": self.settings.client_id,
            "sub": self.settings.client_id,
            "aud": audience,
            "jti": str(uuid.uuid4()),
            "iat": now - _CLOCK_SKEW,
            "exp": now + _ASSERTION_LIFE,
        }
        return jwt.encode(
            claims,
            key.key,
            algorithm=self.settings.algorithm,
            headers={"kid": key.kid},
        )

    def _discover(self) -> str:
        """Return the token endpoint that the FHIR server names."""
        address = f"{self.base_url.rstrip('/')}/.well-known/smart-configuration"
        answer = self.exchange.send("GET", address, {"Accept": "application/json"})
        url = words((answer.json() or {}).get("token_endpoint"))
        scheme = urlsplit(self.base_url).scheme
        if answer.status == 200 and url.startswith(f"{scheme}://"):
            return url
        if answer.status >= 500 or answer.status == 429:
            raise TokenUnavailable(
                f"The server's smart-configuration answers HTTP {answer.status}; "
                "it is tried again by itself"
            )
        raise TokenRefused(
            f"The server's smart-configuration (HTTP {answer.status}) names no {scheme} "
            "token_endpoint; set auth.token_url, restart, then replay"
        )


def _refuses_the_assertion(answer: Answer) -> bool:
    """Say whether another key or another time may be what is missing (RFC 7521 4.2.1)."""
    error = words((answer.json() or {}).get("error"))
    return answer.status in {400, 401} and error not in _NOT_THE_ASSERTION


def _post_form(
    exchange: Exchange, url: str, fields: dict[str, str], authorization: str = ""
) -> Answer:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if authorization:
        headers["Authorization"] = authorization
    return exchange.send("POST", url, headers, urlencode(fields).encode())


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def authorizer(auth: Auth, base_url: str, exchange: Exchange, clock: Clock) -> Authorizer:
    """Return what ``auth`` of a destination asks for.

    Raises:
        ConfigurationError: the private key cannot be read or does not fit the algorithm.
    """
    if isinstance(auth, BasicAuth):
        value = _basic(auth.username, auth.password)
        return FixedHeader(value, (auth.password, value.removeprefix("Basic ")))
    if isinstance(auth, BearerAuth):
        return FixedHeader(f"Bearer {auth.token}", (auth.token,))
    wait = _EXCHANGES * exchange.timeout_seconds
    if isinstance(auth, OAuth2Auth):
        request = ClientCredentials(auth, exchange)
        return TokenHeader(request, clock, auth.client_secret, wait_seconds=wait)
    if isinstance(auth, SmartBackendAuth):
        assertion = SmartAssertion(auth, base_url, exchange, clock, KeyFile(auth))
        return TokenHeader(assertion, clock, wait_seconds=wait)
    return FixedHeader()
