"""What programs may write in an address or a header, and what is made of it."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from intu_fhir.db.image_keys import matches
from intu_fhir.db.image_query import Level
from intu_fhir.db.session import Database
from intu_fhir.web.dicomweb.media import accepted
from intu_fhir.web.dicomweb.parameters import BadSearch, Search, search_of
from intu_fhir.web.dicomweb.pixels import Pixels, swapped

LEVELS: tuple[Level, ...] = ("study", "series", "instance")
_NAMES = ("PatientID", "00100010", "StudyDate", "limit", "includefield", "fuzzymatching", "accept")
_TEXT = st.text(st.sampled_from("aA1*?%_[]\\^=- ä山"), max_size=8)


@given(
    st.sampled_from(LEVELS),
    st.lists(st.tuples(st.sampled_from(_NAMES) | st.text(max_size=12), st.text(max_size=40))),
)
def test_any_parameters_are_a_search_or_a_mistake(
    level: Level, parameters: list[tuple[str, str]]
) -> None:
    """Whatever stands in an address is understood or refused; a refusal never has its values."""
    said = ""
    try:
        assert isinstance(search_of(parameters, level), Search)
    except BadSearch as error:
        said = str(error)
    assert not any(len(value) > 8 and value in said for _, value in parameters)


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=60), max_size=3))
@example(['multipart/related; type="application/dicom"; transfer-syntax=*;q=x, a/b;q=0'])
def test_any_accept_header_is_read(texts: list[str]) -> None:
    """No header makes reading it fail; what weighs nothing is not accepted."""
    headers = [(b"accept", text.encode("latin-1")) for text in texts]
    request = Request({"type": "http", "headers": headers, "query_string": b""})
    weights = [one.weight for one in accepted(request)]
    assert all(weight > 0 for weight in weights)
    assert weights == sorted(weights, reverse=True)


def _matches(pattern: str, value: str) -> bool:
    """Say what PS3.4 C.2.2.2.4 says, by another way."""
    parts = {"*": ".*", "?": "."}
    whole = "".join(parts.get(sign, re.escape(sign)) for sign in pattern)
    return re.fullmatch(whole, value, re.DOTALL) is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@example(pattern="a*", values=["A1", "a1", "a"])
@given(pattern=_TEXT.filter(bool), values=st.lists(_TEXT, min_size=1, max_size=20))
def test_wildcards_mean_the_same_on_both_databases(
    database: Database, pattern: str, values: list[str]
) -> None:
    """Only * and ? are special, case counts, and what SQL takes for special is literal."""
    dialect = "sqlite" if database.is_sqlite else "postgresql"
    asked = [
        matches(sa.literal(value, sa.Text), "text", pattern, dialect).label(f"c{n}")
        for n, value in enumerate(values)
    ]
    with database.read() as connection:
        found = connection.execute(sa.select(*asked)).one()
    assert list(map(bool, found)) == [_matches(pattern, value) for value in values]


@given(
    st.binary(max_size=64).filter(lambda read: len(read) % 8 == 0), st.sampled_from([1, 2, 4, 8])
)
def test_words_are_turned_and_turned_back(read: bytes, size: int) -> None:
    """Turning the order of bytes twice changes nothing; once is what numpy does."""
    assert swapped(swapped(read, size), size) == read
    assert swapped(read, size) == np.frombuffer(read, f"u{size}").byteswap().tobytes()


@given(st.integers(1, 40), st.integers(1, 6), st.randoms(use_true_random=False))
def test_packed_frames_begin_anywhere_in_a_byte(bits: int, frames: int, chance: object) -> None:
    """Frames of one bit a pixel come apart where they end, not where a byte does."""
    rng = np.random.default_rng(chance.randrange(1 << 30))  # type: ignore[attr-defined]
    pixels = rng.integers(0, 2, bits * frames, dtype=np.uint8)
    packed = np.packbits(pixels, bitorder="little").tobytes()
    where = Pixels(begin=0, length=len(packed), bits=bits, frames=frames)

    for number in range(1, frames + 1):
        wanted = np.packbits(pixels[(number - 1) * bits : number * bits], bitorder="little")
        assert where.native(io.BytesIO(packed), number) == wanted.tobytes()


@pytest.mark.parametrize(
    ("value", "time", "expected"),
    [
        ("08", "085959.999999", True),
        ("08", "0900", False),
        ("0800-0900", "0900", True),
        ("0800-0900", "090030", True),
        ("0800-0900", "0901", False),
        ("-0800", "", False),
        ("080000.5-", "080000.4", False),
    ],
)
def test_times_are_in_a_range_to_its_end(
    database: Database, value: str, time: str, expected: bool
) -> None:
    """A range of times ends with its last hour, minute or second; nothing is in no range."""
    condition = matches(sa.literal(time, sa.Text), "time", value, database.engine.dialect.name)
    with database.read() as connection:
        assert bool(connection.execute(sa.select(condition)).scalar_one()) is expected
