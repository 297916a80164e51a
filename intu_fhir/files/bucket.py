"""A bucket of an object store that speaks S3: put, check, get, remove; by ``obstore``."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from intu_fhir.errors import ConfigurationError, DamagedFile, StoreUnavailable
from intu_fhir.files.sealing import SALT_BYTES, SealingKeys, read_keys, seal, unseal
from intu_fhir.settings.object_store import ObjectStore

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

_DIGEST, _SEALED = "intu-sha256", "intu-sealed"
_BLOCK_BYTES = 1 << 20
_PART_BYTES = 8 << 20
_MOST_PARTS = 9_000
_LONGEST = timedelta(hours=6)


class _Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Put:
    """What an object in the bucket has to be: the digest and size of its bytes there."""

    sha256: str
    size: int


@contextlib.contextmanager
def _store_errors(doing: str) -> Iterator[None]:
    """Turn what the object store says into our own errors.

    An object that is absent is lost; a bucket that is absent is a mistake in the settings or at
    the store, and says nothing of the objects.
    """
    try:
        yield
    except (BaseError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's own, of a disk; the library's errors have no number
        if _is_absent(error) and "NoSuchBucket" not in str(error):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
        raise StoreUnavailable(
            f"{doing} failed at the object store ({type(error).__name__}); see that it answers, "
            "that the bucket is there, and that the key may read and write"
        ) from None


def _is_absent(error: Exception) -> bool:
    return isinstance(error, (NotFoundError, FileNotFoundError))


class Bucket:
    """Where the files of a site are in the end; safe to use from several threads.

    Args:
        url: ``s3://bucket/prefix``.

    Raises:
        ConfigurationError: the settings or key files cannot be used.
    """

    def __init__(self, url: str, settings: ObjectStore) -> None:
        self._keys: SealingKeys | None = read_keys(settings.key_files)
        self._verify_by_reading = settings.verify == "read"
        try:
            self._store = _s3_store(url, settings)
        except (BaseError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"the object store cannot be used ({type(error).__name__}); correct it",
                key="object_store",
            ) from None

    def put(self, name: str, file: BinaryIO) -> None:
        """Store an open file under ``name`` and make sure that it is there as it was sent.

        Raises:
            StoreUnavailable: it is not surely there; storing it again is harmless.
            OSError: the file cannot be read.
        """
        salt = os.urandom(SALT_BYTES)
        sent = self._measure(self._blocks(file, name, salt))
        attributes = {_DIGEST: sent.sha256, "Content-Type": "application/dicom"}
        if self._keys:
            attributes |= {_SEALED: "1", "Content-Type": "application/octet-stream"}
        with _store_errors("An upload"):
            self._send(name, self._blocks(file, name, salt), sent.size, attributes)
            self._verify(name, sent)

    def _send(
        self, name: str, blocks: Iterator[bytes], size: int, attributes: dict[str, str]
    ) -> None:
        if size <= _PART_BYTES:
            whole = b"".join(blocks)
            obstore.put(self._store, name, whole, attributes=attributes, use_multipart=False)
            return
        part = max(_PART_BYTES, size // _MOST_PARTS)
        obstore.put(
            self._store, name, blocks, attributes=attributes, chunk_size=part, max_concurrency=2
        )

    def _blocks(self, file: BinaryIO, name: str, salt: bytes) -> Iterator[bytes]:
        file.seek(0)
        if self._keys is not None:
            yield from seal(file, self._keys, salt, name)
            return
        while block := file.read(_BLOCK_BYTES):
            yield block

    @staticmethod
    def _measure(blocks: Iterator[bytes]) -> Put:
        digest, size = hashlib.sha256(), 0
        for block in blocks:
            digest.update(block)
            size += len(block)
        return Put(digest.hexdigest(), size)

    def _verify(self, name: str, sent: Put) -> None:
        """Compare what the bucket has with what was sent."""
        got = obstore.get(self._store, name)
        there = Put(got.attributes.get(_DIGEST, ""), got.meta["size"])
        if there == sent and self._verify_by_reading:
            there = self._measure(bytes(block) for block in got.stream(_BLOCK_BYTES))
        if there != sent:
            raise StoreUnavailable(
                f"The object store holds something else under {name} than was sent; it is sent "
                "again"
            )

    def has(self, name: str) -> bool:
        """Say whether an object of this name is there.

        Raises:
            StoreUnavailable: the object store does not answer.
        """
        try:
            with _store_errors("A look"):
                # Not by HEAD: its answer does not tell an absent object from an absent bucket.
                obstore.get_range(self._store, name, start=0, length=1)
        except FileNotFoundError:
            return False
        return True

    def get(self, name: str, into: _Sink) -> int:
        """Write the file ``name`` as it was before it was stored; return its size in bytes.

        Raises:
            FileNotFoundError: it is not there.
            StoreUnavailable: the object store does not answer.
            DamagedFile: it is not what was stored; what was written into ``into`` is void.
        """
        written = 0
        for block in self.blocks(name):
            written += into.write(block)
        return written

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield the file ``name`` as it was before it was stored, a mebibyte or so at a time.

        Raises:
            FileNotFoundError: it is not there; before anything was yielded.
            StoreUnavailable: the object store does not answer.
            DamagedFile: it is not what was stored; what was yielded is void.
        """
        with _store_errors("A download"):
            got = obstore.get(self._store, name)
            digest = hashlib.sha256()
            blocks = _digested(map(bytes, got.stream(_BLOCK_BYTES)), digest.update)
            yield from unseal(blocks, self._keys, name) if _SEALED in got.attributes else blocks
        if digest.hexdigest() != got.attributes.get(_DIGEST):
            raise DamagedFile(
                f"The object store gives other bytes for {name} than were put there; restore it "
                "from a backup, or have the instance sent again"
            )

    def names(self, part: str) -> Iterator[str]:
        """Give the names below a folder of the bucket, sorted by code point as S3 lists them.

        Raises:
            StoreUnavailable: the object store does not answer.
        """
        with _store_errors("A listing"):
            for page in obstore.list(self._store, part):
                yield from (one["path"] for one in page)

    def ask(self) -> None:
        """Make sure that the bucket answers, whatever it says of a single object.

        Raises:
            StoreUnavailable: it does not.
        """
        self.has("probes/none")

    def remove(self, name: str) -> None:
        """Remove an object; one that is gone already is fine."""
        with contextlib.suppress(FileNotFoundError), _store_errors("A removal"):
            obstore.delete(self._store, name)

    def probe(self) -> None:
        """Write, read and remove a small object.

        Raises:
            StoreUnavailable: one of that failed.
        """
        name = f"probes/{os.urandom(8).hex()}"
        self.put(name, io.BytesIO(b"intu-fhir check"))
        self.remove(name)


def _digested(blocks: Iterator[bytes], update: Callable[[bytes], None]) -> Iterator[bytes]:
    for block in blocks:
        update(block)
        yield block


def _s3_store(url: str, settings: ObjectStore) -> S3Store:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    config: dict[str, object] = {
        "region": settings.region,
        "endpoint": settings.endpoint,
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key,
        "virtual_hosted_style_request": settings.virtual_hosted,
        "server_side_encryption": settings.server_side_encryption,
        "sse_kms_key_id": settings.kms_key_id,
        "checksum_algorithm": "SHA256",
        "disable_bulk_delete": True,
    }
    patience = timedelta(seconds=settings.timeout_seconds)
    client: dict[str, object] = {
        "connect_timeout": timedelta(seconds=min(5.0, settings.timeout_seconds)),
        "read_timeout": patience,
        "timeout": _LONGEST,
        "allow_http": (settings.endpoint or "").startswith("http://"),
    }
    if settings.ca_file is not None:
        client["root_certificate"] = Path(settings.ca_file).read_bytes()
    return S3Store(
        bucket,
        prefix=prefix.strip("/") or None,
        config=cast("S3Config", {key: one for key, one in config.items() if one is not None}),
        client_options=cast("ClientConfig", client),
        retry_config={"max_retries": 3, "retry_timeout": patience},
    )
