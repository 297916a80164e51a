"""Which form and byte order a transfer syntax stands for."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest

from intu_fhir.errors import InvalidDataSet
from intu_fhir.stage.encodings import (
    DEFAULT_LIMITS,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Encoding,
    inflate,
    open_data_set,
)
from tests.support.elements import BIG, DEFLATED, EXPLICIT, IMPLICIT, JPEG, bare, uids


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize(
    ("transfer_syntax_uid", "content", "expected"),
    [
        (IMPLICIT, uids(explicit=False), IMPLICIT_LITTLE),
        (EXPLICIT, uids(), EXPLICIT_LITTLE),
        (BIG, uids(order=">"), EXPLICIT_BIG),
        (JPEG, uids(), EXPLICIT_LITTLE),
        ("1.2.840.10008.1.2.8.1", uids(), EXPLICIT_LITTLE),
        ("1.2.3.4.private", uids(), EXPLICIT_LITTLE),
        (DEFLATED, _deflated(uids()), EXPLICIT_LITTLE),
        ("1.2.840.10008.1.2.4.95", _deflated(uids()), EXPLICIT_LITTLE),
        ("1.2.840.113619.5.2", uids(explicit=False), IMPLICIT_LITTLE),
        # What the bytes plainly are counts more than what the label says.
        (EXPLICIT, uids(explicit=False), IMPLICIT_LITTLE),
        (IMPLICIT, uids(), EXPLICIT_LITTLE),
        (IMPLICIT, b"", IMPLICIT_LITTLE),
    ],
)
def test_each_transfer_syntax_has_its_encoding(
    transfer_syntax_uid: str, content: bytes, expected: Encoding
) -> None:
    """A data set is opened in the encoding of its transfer syntax, or the one it plainly has."""
    assert open_data_set(content, transfer_syntax_uid, DEFAULT_LIMITS)[1] is expected


def test_a_deflated_data_set_may_be_padded() -> None:
    """A byte of padding after the deflated stream is no part of the data set."""
    assert inflate(_deflated(b"content") + b"\0", 100) == b"content"


def test_large_deflated_data_sets_inflate_exactly() -> None:
    """Content of several chunks, stored and packed, is the same afterwards."""
    content = bytes(range(256)) * 20_000
    assert inflate(_deflated(content), len(content)) == content


@pytest.mark.parametrize("cut", [1, 10, 50])
def test_a_deflated_data_set_that_ends_early_is_refused(cut: int) -> None:
    """A stream without its end is never taken for a whole one."""
    content = _deflated(uids())
    with pytest.raises(InvalidDataSet, match="early"):
        inflate(content[:-cut], 10_000)


def test_a_damaged_deflated_data_set_is_refused() -> None:
    """Bytes that are no deflate stream are refused."""
    with pytest.raises(InvalidDataSet, match="damaged"):
        inflate(b"\xff" * 100, 10_000)


def test_a_deflate_bomb_is_refused_within_bounded_memory() -> None:
    """A bomb of 200 MB stops at the limit, whatever it would grow to."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = bytes(1024**2)
    bomb = b"".join(packer.compress(zeros) for _ in range(200)) + packer.flush()
    tracemalloc.start()
    with pytest.raises(InvalidDataSet, match="max_inflated_bytes"):
        inflate(bomb, 8 * 1024**2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 1024**2


def test_an_implicit_item_head_is_not_taken_for_a_value_representation() -> None:
    """Data sets shorter than one element keep the encoding of their label."""
    assert open_data_set(bare(0x00080005)[:7], EXPLICIT, DEFAULT_LIMITS)[1] is EXPLICIT_LITTLE
