"""Files sealed before they leave this machine: AES-256-GCM, segment by segment.

A sealed file is a head (magic, id of the key, salt) and segments of one mebibyte, each with its
tag of 16 bytes. Each file has a key of its own, derived from the site's key, the salt and the
file's name (HKDF, RFC 5869), so the nonce of a segment may be its number. The nonce also says
which segment is the last: one that is cut off, moved, repeated or taken from another file does
not open (the construction STREAM of Hoang, Reyhanitabar, Rogaway and Vizár, 2015).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from intu_fhir.errors import ConfigurationError, DamagedFile, UnknownKey

MAGIC = b"INTUSEAL1"
SALT_BYTES = 16
_ID_BYTES = 8
_HEAD_BYTES = len(MAGIC) + _ID_BYTES + SALT_BYTES
_SEGMENT_BYTES = 1 << 20
_TAG_BYTES = 16
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class SealingKeys:
    """The keys of a site; the first one seals, all of them open.

    Args:
        newest: id of the key that seals.
        keys: by id, 32 bytes each.
    """

    newest: bytes
    keys: Mapping[bytes, bytes]

    def __repr__(self) -> str:
        return f"SealingKeys({len(self.keys)})"


def read_keys(files: Sequence[Path]) -> SealingKeys | None:
    """Read key files, each 32 bytes as they are, in hexadecimal or in base64; None for none.

    Raises:
        ConfigurationError: a file cannot be read, or holds no such key.
    """
    keys = [_read_key(file) for file in files]
    if not keys:
        return None
    by_id = {hashlib.sha256(b"intu_fhir key " + key).digest()[:_ID_BYTES]: key for key in keys}
    return SealingKeys(next(iter(by_id)), by_id)


def _read_key(file: Path) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the key file cannot be read ({error.strerror}); correct the path or the permission",
            file=str(file),
        ) from None
    text = content.strip()
    for key in (content, _decoded(text, _hexadecimal), _decoded(text, _base64)):
        if len(key) == _KEY_BYTES:
            return key
    raise ConfigurationError(
        "not a key of 32 bytes; make one with `openssl rand -hex 32`", file=str(file)
    )


_hexadecimal = partial(base64.b16decode, casefold=True)
_base64 = partial(base64.b64decode, validate=True)


def _decoded(text: bytes, decode: Callable[[bytes], bytes]) -> bytes:
    try:
        return decode(text)
    except binascii.Error:
        return b""


def seal(file: BinaryIO, keys: SealingKeys, salt: bytes, name: str) -> Iterator[bytes]:
    """Yield a file sealed; the same salt gives the same bytes, so use a new one for each file."""
    cipher = _cipher(keys.keys[keys.newest], salt, name)
    yield MAGIC + keys.newest + salt
    number, segment = 0, file.read(_SEGMENT_BYTES)
    while True:
        following = file.read(_SEGMENT_BYTES) if len(segment) == _SEGMENT_BYTES else b""
        yield cipher.encrypt(_nonce(number, last=not following), segment, None)
        if not following:
            return
        number, segment = number + 1, following


def unseal(blocks: Iterable[bytes], keys: SealingKeys | None, name: str) -> Iterator[bytes]:
    """Yield what was sealed under ``name``.

    Raises:
        DamagedFile: it is not complete, not what was sealed, or sealed with an unknown key.
    """
    segments = _segments(blocks)
    head, _ = next(segments, (b"", True))
    if len(head) != _HEAD_BYTES or not head.startswith(MAGIC):
        raise DamagedFile(f"The stored file {name} is not sealed as it should be; restore it")
    key = keys.keys.get(head[len(MAGIC) : -SALT_BYTES]) if keys else None
    if key is None:
        raise UnknownKey(
            f"The stored file {name} was sealed with a key that is not there; "
            "add its key file to object_store.key_files"
        )
    cipher, number, complete = _cipher(key, head[-SALT_BYTES:], name), 0, False
    for number, (segment, last) in enumerate(segments):
        try:
            yield cipher.decrypt(_nonce(number, last=last), segment, None)
        except InvalidTag:
            raise _does_not_open(name) from None
        complete = last
    if not complete:
        raise _does_not_open(name)


def _does_not_open(name: str) -> DamagedFile:
    return DamagedFile(
        f"The stored file {name} is not what was sealed; restore it from a backup, or have the "
        "instance sent again"
    )


def _segments(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Cut what comes into the head and the segments, and say which is the last."""
    waiting, wanted = bytearray(), _HEAD_BYTES
    for block in blocks:
        waiting += block
        while len(waiting) > wanted:
            yield bytes(waiting[:wanted]), False
            del waiting[:wanted]
            wanted = _SEGMENT_BYTES + _TAG_BYTES
    if waiting:
        yield bytes(waiting), True


def _cipher(key: bytes, salt: bytes, name: str) -> AESGCM:
    info = b"intu_fhir file " + name.encode()
    return AESGCM(HKDF(SHA256(), length=_KEY_BYTES, salt=salt, info=info).derive(key))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
