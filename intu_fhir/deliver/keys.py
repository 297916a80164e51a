"""The private keys that sign our assertions, read anew whenever a token is asked for.

So a key is changed by replacing its file: nothing has to be restarted, and while old and new key
are both there, whichever the server knows is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import orjson
import structlog

from intu_fhir.deliver.answers import objects, words
from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.schema import SmartBackendAuth

log = structlog.get_logger("intu_fhir.deliver")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key.

    Args:
        kid: by which the server knows its public half.
        key: as the library that signs takes it.
    """

    kid: str
    key: Any


class KeyFile:
    """The keys of ``private_key_file``: one in PEM, or JSON Web Keys (RFC 7517), the newest first.

    Raises:
        ConfigurationError: at the start it holds no key that fits.
    """

    def __init__(self, settings: SmartBackendAuth) -> None:
        self._settings = settings
        self._keys = self._read()

    def keys(self) -> tuple[SigningKey, ...]:
        """Return the keys that are there now; those of before while the file cannot be used."""
        try:
            self._keys = self._read()
        except ConfigurationError as error:
            file = str(self._settings.private_key_file)
            log.warning("key_not_replaced", file=file, reason=error.reason)
        return self._keys

    def _read(self) -> tuple[SigningKey, ...]:
        settings = self._settings
        try:
            text = settings.private_key_file.read_text("ascii")
            keys = self._json(text) if text.lstrip().startswith("{") else self._pem(text)
            for one in keys:  # a wrong key shows here, not at the first token
                jwt.encode({}, one.key, algorithm=settings.algorithm)
        except OSError as error:
            raise self._unusable(error.strerror or type(error).__name__) from error
        except (ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise self._unusable(f"no key for {settings.algorithm}") from error
        if not keys:
            raise self._unusable(f"no key for {settings.algorithm}")
        if not all(one.kid for one in keys):
            raise self._unusable("its key has no kid; write auth.kid")
        return keys

    def _pem(self, text: str) -> tuple[SigningKey, ...]:
        return (SigningKey(self._settings.kid, text),)

    def _json(self, text: str) -> tuple[SigningKey, ...]:
        """Read a JSON Web Key, or a set of them; public halves and others are passed over."""
        found: Mapping[str, Any] = orjson.loads(text)
        listed = objects(found.get("keys")) if "keys" in found else [dict(found)]
        algorithm = self._settings.algorithm
        return tuple(
            SigningKey(words(one.get("kid")) or self._settings.kid, jwt.PyJWK(one, algorithm).key)
            for one in listed
            if "d" in one and one.get("alg", algorithm) == algorithm
        )

    def _unusable(self, reason: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._settings.private_key_file} cannot be used ({reason}); give a file with the "
            "private key registered at the server, in PEM or as JSON Web Key",
            key="auth.private_key_file",
        )
