"""JSON Web Tokens as RFC 7515 and RFC 7518 have them, without the library that signs ours."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

_P384_BYTES = 48


def verified_claims(
    token: str, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
) -> dict[str, Any]:
    """Return the claims of a token that was signed with RS384 or ES384.

    Raises:
        InvalidSignature: somebody else signed it, or it was changed.
    """
    signed, _, signature = token.rpartition(".")
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA384())
    else:
        key.verify(_der(_decoded(signature)), signed.encode(), ec.ECDSA(hashes.SHA384()))
    claims: dict[str, Any] = json.loads(_decoded(signed.partition(".")[2]))
    return claims


def _der(signature: bytes) -> bytes:
    """Return the two numbers of RFC 7518 section 3.4, each of 48 bytes, as a library takes them."""
    assert len(signature) == 2 * _P384_BYTES
    r, s = signature[:_P384_BYTES], signature[_P384_BYTES:]
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
