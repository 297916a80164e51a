"""OpenID Connect: the authorization code flow with PKCE, as the relying party.

OpenID Connect Core 1.0 (3.1), Discovery 1.0 (4), RFC 7636, RFC 9207. Tokens are verified by PyJWT.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode

import jwt

from intu_fhir.deliver.exchange import Exchange, NoAnswer
from intu_fhir.errors import TransientError
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.base import ClientTls
from intu_fhir.settings.web import Oidc

ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
"""Signatures with a key that only the provider has; never ``none``, never a shared secret."""

LEEWAY_SECONDS = 30
"""How far the clocks of the provider and of this machine may be apart."""

_MAX_BYTES = 1_000_000
_FRESH_SECONDS = 3_600.0
_KEYS_AT_MOST_EVERY = 30.0
_FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}


class ProviderUnavailable(TransientError):
    """The identity provider does not answer, or not as one."""


class LoginRefused(Exception):
    """What came back proves nobody; the message is for the log and for the person."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What ties an answer to the login that asked for it; it travels in a sealed cookie."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Secrets:
        """Return fresh ones."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))


@dataclass(frozen=True, slots=True)
class Claims:
    """What the provider says of a person."""

    name: str
    groups: frozenset[str]


class Provider:
    """One identity provider; what it publishes is kept for an hour.

    Args:
        settings: as registered there.
    """

    def __init__(self, settings: Oidc, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        tls = ClientTls(ca_file=settings.ca_file) if settings.ca_file else None
        self._exchange = Exchange(
            timeout_seconds=settings.timeout_seconds, max_answer_bytes=_MAX_BYTES, tls=tls
        )
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._metadata_at = self._keys_at = float("-inf")
        self._keys: dict[str, jwt.PyJWK] = {}

    def close(self) -> None:
        """Close idle connections."""
        self._exchange.close()

    def login_address(self, known: Secrets) -> str:
        """Return where a person logs in.

        Raises:
            ProviderUnavailable: the provider does not tell.
        """
        digest = hashlib.sha256(known.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._settings.redirect_url,
            "scope": self._settings.scope,
            "state": known.state,
            "nonce": known.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        address = self._endpoint("authorization_endpoint")
        return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"

    def redeem(self, code: str, known: Secrets) -> Claims:
        """Return who has logged in.

        Raises:
            LoginRefused: the provider does not take the code, or its token proves nobody.
            ProviderUnavailable: it does not answer.
        """
        tokens = self._tokens(code, known)
        claims = self._verified(str(tokens.get("id_token", "")), known.nonce)
        wanted = {self._settings.name_claim, self._settings.groups_claim}
        if not wanted <= claims.keys():
            claims = {**self._userinfo(tokens, str(claims["sub"])), **claims}
        return Claims(_name(claims, self._settings.name_claim), _groups(claims, self._settings))

    def _tokens(self, code: str, known: Secrets) -> dict[str, Any]:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._settings.redirect_url,
            "code_verifier": known.verifier,
        }
        headers, more = self._proof()
        status, answer = self._ask(
            "POST", self._endpoint("token_endpoint"), {**_FORM, **headers}, {**fields, **more}
        )
        if status != 200:
            raise LoginRefused(f"the token endpoint answers HTTP {status}{_error(answer)}")
        return answer

    def _proof(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return header or fields that prove that it is us (RFC 6749 2.3.1)."""
        client, secret = self._settings.client_id, self._settings.client_secret
        methods = self._known().get("token_endpoint_auth_methods_supported")
        if isinstance(methods, list) and "client_secret_basic" not in methods:
            return {}, {"client_id": client, "client_secret": secret}
        both = f"{quote_plus(client)}:{quote_plus(secret)}".encode()
        return {"authorization": f"Basic {base64.b64encode(both).decode()}"}, {}

    def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token (Core 3.1.3.7)."""
        try:
            key = self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.client_id,
                issuer=self._settings.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise LoginRefused(f"the ID token is not good ({type(error).__name__})") from None
        if claims.get("nonce") != nonce:
            raise LoginRefused("the ID token belongs to another login (nonce)")
        if claims.get("azp", self._settings.client_id) != self._settings.client_id:
            raise LoginRefused("the ID token was given to another client (azp)")
        return claims

    def _userinfo(self, tokens: Mapping[str, Any], subject: str) -> dict[str, Any]:
        """Return what the userinfo endpoint says of the same person (Core 5.3)."""
        access = tokens.get("access_token")
        if "userinfo_endpoint" not in self._known() or not isinstance(access, str) or not access:
            return {}
        headers = {"authorization": f"Bearer {access}", "accept": "application/json"}
        status, answer = self._ask("GET", self._endpoint("userinfo_endpoint"), headers)
        if status != 200:
            return {}
        if answer.get("sub") != subject:
            raise LoginRefused("the userinfo endpoint speaks of somebody else (sub)")
        return answer

    def _key(self, key_id: str) -> jwt.PyJWK:
        """Return a key of the provider; an unknown one has them read again, not too often.

        Raises:
            LoginRefused: it has no such key.
        """
        with self._lock:
            now = self._clock.monotonic()
            is_old = now - self._keys_at > _FRESH_SECONDS
            is_unknown = self._find(key_id) is None and now - self._keys_at > _KEYS_AT_MOST_EVERY
        if is_old or is_unknown:
            keys = self._read_keys()
            with self._lock:
                self._keys, self._keys_at = keys, self._clock.monotonic()
        found = self._find(key_id)
        if found is None:
            raise LoginRefused("the ID token is signed by a key that the provider does not publish")
        return found

    def _find(self, key_id: str) -> jwt.PyJWK | None:
        """Return a key by its id; a token without an id means the only one."""
        if not key_id and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _read_keys(self) -> dict[str, jwt.PyJWK]:
        status, answer = self._ask("GET", self._endpoint("jwks_uri"))
        try:
            keys = jwt.PyJWKSet.from_dict(answer).keys
        except jwt.PyJWTError:
            raise ProviderUnavailable(
                f"The identity provider publishes no keys that can be used (HTTP {status}); "
                "ask who runs it"
            ) from None
        return {str(key.key_id or ""): key for key in keys if key.public_key_use in {None, "sig"}}

    def _endpoint(self, name: str) -> str:
        """Return an address that the provider publishes; over TLS, unless the provider is local."""
        address = self._known().get(name)
        scheme = self._settings.issuer.partition(":")[0]
        if not isinstance(address, str) or not address.startswith((f"{scheme}://", "https://")):
            raise ProviderUnavailable(
                f"The identity provider publishes no {name} over {scheme}; check web.oidc.issuer"
            )
        return address

    def _known(self) -> dict[str, Any]:
        """Return the provider's metadata (Discovery 4.2)."""
        with self._lock:
            if self._clock.monotonic() - self._metadata_at <= _FRESH_SECONDS:
                return self._metadata
        address = f"{self._settings.issuer}/.well-known/openid-configuration"
        status, found = self._ask("GET", address)
        if status != 200 or found.get("issuer") != self._settings.issuer:
            raise ProviderUnavailable(
                f"The identity provider does not describe itself as web.oidc.issuer (HTTP "
                f"{status}); check that address"
            )
        with self._lock:
            self._metadata, self._metadata_at = found, self._clock.monotonic()
        return found

    def _ask(
        self,
        method: str,
        address: str,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Return status and object of an answer; what is no object is an empty one."""
        body = urlencode(fields).encode() if fields else b""
        try:
            answer = self._exchange.send(method, address, headers, body)
        except NoAnswer as error:
            raise ProviderUnavailable(
                f"The identity provider does not answer ({error}); try again, or log in with a "
                "password"
            ) from None
        if answer.status >= 500:
            raise ProviderUnavailable(
                f"The identity provider answers HTTP {answer.status}; try again later"
            )
        return answer.status, _object(answer.body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _error(answer: Mapping[str, Any]) -> str:
    """Return the provider's code of an error, which is a fixed word (RFC 6749 5.2)."""
    code = answer.get("error")
    return f" ({code[:60]})" if isinstance(code, str) and code.isascii() else ""


def _name(claims: Mapping[str, Any], claim: str) -> str:
    found = claims.get(claim)
    return found if isinstance(found, str) and found else str(claims["sub"])


def _groups(claims: Mapping[str, Any], settings: Oidc) -> frozenset[str]:
    found = claims.get(settings.groups_claim)
    if isinstance(found, str):
        return frozenset({found})
    listed = found if isinstance(found, list) else []
    return frozenset(one for one in listed if isinstance(one, str))
