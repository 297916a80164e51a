"""Sealed files: what goes in comes out, and nothing else does."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.errors import ConfigurationError, DamagedFile
from intu_fhir.files.sealing import SealingKeys, read_keys, seal, unseal

KEYS = SealingKeys(b"k" * 8, {b"k" * 8: b"\1" * 32})
SALT = b"s" * 16
SEGMENT = 1 << 20


def sealed(content: bytes, name: str = "a", keys: SealingKeys = KEYS) -> bytes:
    """Return a sealed file."""
    return b"".join(seal(io.BytesIO(content), keys, SALT, name))


def opened(content: bytes, name: str = "a", block: int = 70_000) -> bytes:
    """Return what a sealed file holds, given in blocks of some size."""
    return b"".join(unseal(_blocks(content, block), KEYS, name))


def _blocks(content: bytes, block: int) -> Iterator[bytes]:
    return (content[at : at + block] for at in range(0, len(content), block))


@pytest.mark.parametrize("size", [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT])
def test_what_is_sealed_opens_again(size: int) -> None:
    """Every length around the ends of segments comes back as it was."""
    content = bytes(range(256)) * (size // 256 + 1)
    assert opened(sealed(content[:size])) == content[:size]


@given(st.binary(max_size=300), st.integers(1, 400))
def test_blocks_may_be_cut_anywhere(content: bytes, block: int) -> None:
    """How the network cuts a sealed file makes no difference."""
    assert opened(sealed(content), block=block) == content


@given(st.binary(min_size=1, max_size=100), st.data())
def test_no_changed_byte_opens(content: bytes, data: st.DataObject) -> None:
    """One bit changed anywhere, head and tag included, and nothing is given out as true."""
    whole = bytearray(sealed(content))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DamagedFile):
        opened(bytes(whole))


@pytest.mark.parametrize(
    "cut", [0, 10, 33, 40, 33 + SEGMENT + 16, 33 + 2 * (SEGMENT + 16)], ids=str
)
def test_a_file_that_is_cut_off_does_not_open(cut: int) -> None:
    """Not even where the cut falls between two segments."""
    with pytest.raises(DamagedFile):
        opened(sealed(bytes(2 * SEGMENT + 5))[:cut])


def test_segments_cannot_change_places() -> None:
    """Two segments swapped are no file."""
    whole, size = sealed(bytes(SEGMENT) + b"\1" * SEGMENT + b"end"), SEGMENT + 16
    first, second = whole[33 : 33 + size], whole[33 + size : 33 + 2 * size]
    with pytest.raises(DamagedFile):
        opened(whole[:33] + second + first + whole[33 + 2 * size :])


def test_a_file_opens_under_its_own_name_only() -> None:
    """Another file's bytes under this name are refused, however well they are sealed."""
    with pytest.raises(DamagedFile):
        opened(sealed(b"images of somebody else", name="b"))


def test_old_keys_open_what_they_sealed(tmp_path: Path) -> None:
    """After a new key is put first, what the old one sealed opens; without the old, it does not."""
    for number in (1, 2):
        (tmp_path / f"{number}.key").write_text(f"{number:064x}\n")
    old, new = (read_keys([tmp_path / f"{number}.key"]) for number in (1, 2))
    both = read_keys([tmp_path / "2.key", tmp_path / "1.key"])
    assert old is not None
    assert both is not None
    before, after = sealed(b"x", keys=old), sealed(b"y", keys=both)
    assert b"".join(unseal([before], both, "a")) == b"x"
    assert b"".join(unseal([after], new, "a")) == b"y"
    with pytest.raises(DamagedFile, match="key_files"):
        list(unseal([before], new, "a"))


@pytest.mark.parametrize(
    "content", [b"\xfe" * 32, b"Fe" * 32 + b"\n", base64.b64encode(b"\xfe" * 32)]
)
def test_a_key_may_be_written_in_three_ways(content: bytes, tmp_path: Path) -> None:
    """32 bytes as they are, in hexadecimal, in base64: the same key."""
    (tmp_path / "key").write_bytes(content)
    keys = read_keys([tmp_path / "key"])
    assert keys is not None
    assert list(keys.keys.values()) == [b"\xfe" * 32]


@pytest.mark.parametrize("content", [b"", b"secret", b"ab" * 31, b"\xff" * 31])
def test_what_is_no_key_is_refused_without_being_shown(content: bytes, tmp_path: Path) -> None:
    """The message says how to make a key, and not what stands in the file."""
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigurationError, match="openssl rand") as caught:
        read_keys([tmp_path / "key"])
    assert "secret" not in str(caught.value)
    assert "\\x01" not in repr(KEYS)
