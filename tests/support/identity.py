"""A small OpenID provider on loopback: it keeps the rules, until a test breaks one."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

CLIENT, SECRET = "intu", "s3cret:/ with more"


def new_key() -> rsa.RSAPrivateKey:
    """Return a key that nobody else has."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


@dataclass
class Provider:
    """What the provider knows, and where a test changes what it says.

    Args:
        person: claims of whoever logs in; nobody is asked for a password.
        change: changes the claims of an ID token before it is signed.
        sign: signs claims; by default with the published key.
        methods: how clients prove who they are at the token endpoint.
        in_userinfo: claims that only the userinfo endpoint tells.
    """

    url: str
    key: rsa.RSAPrivateKey = field(default_factory=new_key)
    key_id: str = "k1"
    person: dict[str, Any] = field(default_factory=dict)
    change: Callable[[dict[str, Any]], dict[str, Any]] = dict
    sign: Callable[[dict[str, Any]], str] | None = None
    methods: list[str] = field(default_factory=lambda: ["client_secret_basic"])
    in_userinfo: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def signed(self, claims: dict[str, Any]) -> str:
        """Return the ID token of some claims."""
        if self.sign is not None:
            return self.sign(claims)
        return jwt.encode(claims, self.key, "RS256", headers={"kid": self.key_id})

    def discovery(self) -> dict[str, Any]:
        """Return the provider's description of itself."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/keys",
            "token_endpoint_auth_methods_supported": self.methods,
        } | self.metadata

    def keys(self) -> dict[str, Any]:
        """Return the published keys: one that signs, one of another kind."""
        signing = json.loads(RSAAlgorithm.to_jwk(self.key.public_key()))
        other = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))
        return {
            "keys": [
                {**signing, "kid": self.key_id, "use": "sig"},
                {**other, "kid": "other", "use": "sig"},
            ]
        }

    def authorize(self, query: dict[str, str]) -> str:
        """Return where a person is sent back to, who has logged in at once."""
        code = hashlib.sha256(query["state"].encode()).hexdigest()
        self.codes[code] = query
        back = {"code": code, "state": query["state"], "iss": self.url}
        return f"{query['redirect_uri']}?{urlencode(back)}"

    def tokens(self, fields: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Trade a code, once, for who can prove to be who asked for it."""
        began = self.codes.pop(fields.get("code", ""), None)
        if not self._is_client(fields, authorization):
            return 401, {"error": "invalid_client"}
        if began is None or began["redirect_uri"] != fields.get("redirect_uri"):
            return 400, {"error": "invalid_grant"}
        digest = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != began["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": began["client_id"],
            "sub": "4711",
            "iat": now,
            "exp": now + 300,
            "nonce": began["nonce"],
            **self.person,
        }
        return 200, {
            "access_token": "opaque",
            "token_type": "Bearer",
            "id_token": self.signed(self.change(claims)),
        }

    def _is_client(self, fields: dict[str, str], authorization: str) -> bool:
        if "client_secret_basic" in self.methods:
            scheme, _, both = authorization.partition(" ")
            name, _, secret = base64.b64decode(both).decode().partition(":")
            return scheme == "Basic" and (unquote_plus(name), unquote_plus(secret)) == (
                CLIENT,
                SECRET,
            )
        return (fields.get("client_id"), fields.get("client_secret")) == (CLIENT, SECRET)


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.provider.asked.append(parts.path)
        if parts.path == "/authorize":
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self.send_response(302)
            self.send_header("location", self.provider.authorize(query))
            self.send_header("content-length", "0")
            self.end_headers()
            return
        answers: dict[str, Callable[[], dict[str, Any]]] = {
            "/.well-known/openid-configuration": self.provider.discovery,
            "/keys": self.provider.keys,
            "/userinfo": lambda: {"sub": "4711"} | self.provider.in_userinfo,
        }
        self._answer(200, answers[parts.path]())

    def do_POST(self) -> None:
        self.provider.asked.append(self.path)
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        fields = {name: values[0] for name, values in parse_qs(body).items()}
        self._answer(*self.provider.tokens(fields, self.headers.get("authorization", "")))

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def identity_provider() -> Iterator[Provider]:
    """Run a provider."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    provider = Provider(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"provider": provider})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
