"""Values of single elements, by value representation."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from intu_fhir.stage.charsets import UNDECLARED
from intu_fhir.stage.decoded import Decoded, decode_value


def _decoded(vr: str, value: bytes, *, little: bool = True) -> Decoded:
    return decode_value(vr, value, little=little, charset=UNDECLARED)


@pytest.mark.parametrize(
    ("vr", "value", "raw", "values"),
    [
        ("CS", b"ORIGINAL\\PRIMARY ", "ORIGINAL\\PRIMARY", ["ORIGINAL", "PRIMARY"]),
        ("CS", b"A\\\\B", "A\\\\B", ["A", None, "B"]),
        ("LO", b" left and right ", "left and right", ["left and right"]),
        ("LT", b"  one\\text  ", "  one\\text", ["  one\\text"]),
        ("UI", b"1.2.3\0", "1.2.3", ["1.2.3"]),
        ("LO", b"  ", "", []),
        ("IS", b" 007 ", "007", [7]),
        ("IS", b"-1\\2", "-1\\2", [-1, 2]),
        ("DS", b"1.50\\-2e3\\.5\\4", "1.50\\-2e3\\.5\\4", [1.5, -2000.0, 0.5, 4]),
        ("DS", b"1\\", "1\\", [1, None]),
        ("US", struct.pack("<HH", 1, 65535), "1\\65535", [1, 65535]),
        ("SS", struct.pack("<h", -2), "-2", [-2]),
        ("UV", struct.pack("<Q", 2**64 - 1), str(2**64 - 1), [str(2**64 - 1)]),
        ("SV", struct.pack("<q", -7), "-7", [-7]),
        ("FD", struct.pack("<d", 0.1), "0.1", [0.1]),
        ("AT", bytes.fromhex("10001000"), "00100010", ["00100010"]),
        ("US", b"", "", []),
        (
            "PN",
            b"Doe^Jo=X=Y\\=Z\\",
            "Doe^Jo=X=Y\\=Z\\",
            [
                {"Alphabetic": "Doe^Jo", "Ideographic": "X", "Phonetic": "Y"},
                {"Ideographic": "Z"},
                None,
            ],
        ),
    ],
)
def test_values_are_read_by_representation(
    vr: str, value: bytes, raw: str, values: list[Any]
) -> None:
    """Each representation gives its raw string and its values for JSON, without complaint."""
    assert _decoded(vr, value) == Decoded(raw, values=values)


@pytest.mark.parametrize(
    ("vr", "value", "values", "problem"),
    [
        ("IS", b"5.5", ["5.5"], "invalid_number"),
        ("IS", b"1A", ["1A"], "invalid_number"),
        ("IS", b"9999999999999999", ["9999999999999999"], "invalid_number"),
        ("DS", b"1,5", ["1,5"], "invalid_number"),
        ("DS", b"1e999", ["1e999"], "invalid_number"),
        ("DS", b"nan", ["nan"], "invalid_number"),
        ("US", b"\1\0\2", [1], "length_not_multiple"),
        ("AT", b"\x08\0\x10\0\x08", ["00080010"], "length_not_multiple"),
        ("FL", struct.pack("<f", math.nan), ["NaN"], "not_a_number"),
        ("FD", struct.pack("<d", -math.inf), ["-Infinity"], "not_a_number"),
        ("LO", b"A\0B", ["A\ufffdB"], "undecodable_text"),
        ("LO", b"\xe9", ["é"], "undecodable_text"),
    ],
)
def test_what_breaks_the_rules_is_kept_as_text_and_noted(
    vr: str, value: bytes, values: list[Any], problem: str
) -> None:
    """Invalid numbers and text stay visible, with the code of what is wrong."""
    decoded = _decoded(vr, value)
    assert (decoded.values, decoded.problem) == (values, problem)


@pytest.mark.parametrize(
    ("vr", "big", "little"),
    [
        ("OB", b"\1\2\3\4", b"\1\2\3\4"),
        ("OW", b"\1\2\3\4", b"\2\1\4\3"),
        ("OF", b"\1\2\3\4", b"\4\3\2\1"),
        ("OD", bytes(range(8)), bytes(reversed(range(8)))),
        ("OW", b"\1\2\3", b"\1\2\3"),
    ],
)
def test_binary_words_become_little_endian(vr: str, big: bytes, little: bytes) -> None:
    """Inline binary is little endian whatever the data set was (PS3.18 F.2.2)."""
    assert _decoded(vr, big, little=False).binary == little
    assert _decoded(vr, big).binary == big
