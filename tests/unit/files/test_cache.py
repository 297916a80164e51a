"""Copies of stored objects: bounded, complete, and readable until they are closed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from intu_fhir.files.cache import Cache


def read(cache: Cache, name: str, content: bytes | None = None) -> bytes:
    """Read a copy; without ``content`` it has to be there."""

    def fetch(into: BinaryIO) -> int:
        assert content is not None, f"{name} was fetched again"
        return into.write(content)

    with cache.open(name, fetch) as file:
        return file.read()


def test_a_copy_is_fetched_once(tmp_path: Path) -> None:
    """The second reader gets the copy."""
    cache = Cache(tmp_path / "cache", 1_000)
    assert read(cache, "instances/a.dcm", b"pixels") == b"pixels"
    assert read(cache, "instances/a.dcm") == b"pixels"
    cache.drop("instances/a.dcm")
    assert read(cache, "instances/a.dcm", b"new") == b"new"


def test_copies_stay_within_their_limit(tmp_path: Path) -> None:
    """However much is read, the oldest copies make room; what is open stays readable."""
    cache = Cache(tmp_path / "cache", 10_000)
    with cache.open("first", lambda into: into.write(bytes(1_000))) as first:
        for number in range(100):
            read(cache, f"{number}", bytes(1_000))
            held = sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
            assert held <= 11_000
        assert len(first.read()) == 1_000


def test_what_is_larger_than_the_cache_is_read_and_not_kept(tmp_path: Path) -> None:
    """A file beyond the limit, and any file where it is 0, leaves nothing on the disk."""
    for limit in (0, 10):
        cache = Cache(tmp_path / f"{limit}", limit)
        assert read(cache, "large", b"x" * 100) == b"x" * 100
        assert list((tmp_path / f"{limit}").iterdir()) == []


def test_a_fetch_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Half a file is never a copy, and no descriptor stays open."""
    cache = Cache(tmp_path / "cache", 1_000)

    def fail(into: BinaryIO) -> int:
        into.write(b"half")
        raise OSError("the network is gone")

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="network"):
        cache.open("a", fail)
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_uploaded_file_becomes_a_copy(tmp_path: Path) -> None:
    """A file of the spool is moved, not copied; too large a one is removed."""
    cache = Cache(tmp_path / "cache", 10)
    for name, size in (("small", 10), ("large", 11)):
        (tmp_path / name).write_bytes(bytes(size))
        cache.take(tmp_path / name, name)
        assert not (tmp_path / name).exists()
    assert read(cache, "small") == bytes(10)
    assert read(cache, "large", b"again") == b"again"
