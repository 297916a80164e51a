"""What the schema is not shown would change nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from intu_fhir.build.alike import without_alike
from intu_fhir.build.validate import MODELS
from intu_fhir.mappings import Release
from tests.support.building import header, resource

CODES: tuple[Any, ...] = (
    {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.3"},
    {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.4"},
    {"system": "urn:ietf:rfc:3986", "code": 7},
    {"system": "urn:ietf:rfc:3986", "code": True},
    {"code": ["x"]},
    {},
    None,
    "x",
)
UIDS: tuple[Any, ...] = ("1.2.3", "1.2.4", "1 2", "", "x" * 65, 5, None, "1.2\n", "1.2é")
NUMBERS: tuple[Any, ...] = (0, 1, 2**31 - 1, 2**31, -1, "1", 1.0, 1.5, True, None)
TITLES: tuple[Any, ...] = ("CT", "-", "", " ", "\x07", "a\nb", "x" * 2_000, 5, None, "Schädel")
CHANGES: dict[str, tuple[Any, ...]] = {
    "uid": UIDS,
    "sopClass": CODES,
    "number": NUMBERS,
    "title": TITLES,
    "extension": ([], [{"url": "http://x", "valueString": "1"}], [{}], None),
    "other": (1, "x"),
}
USUAL = {"uid": "1.2.3", "sopClass": CODES[0], "number": 1, "title": "CT"}


@st.composite
def _instances(draw: st.DrawFn) -> dict[str, Any]:
    """An instance as it should be, in which little is changed, as the mistakes to find are."""
    names = draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=2, unique=True))
    return {**USUAL, **{name: draw(st.sampled_from(CHANGES[name])) for name in names}}


def _accepts(made: dict[str, Any], release: Release) -> bool:
    try:
        MODELS[release].model_validate(made)
    except ValueError:
        return False
    return True


@settings(max_examples=400)
@example([USUAL, {**USUAL, "uid": "1 2"}])
@example([USUAL, {**USUAL, "number": "1"}])
@example([USUAL, {**USUAL, "sopClass": CODES[2]}])
@given(st.lists(st.one_of(_instances(), st.sampled_from((None, 5, "x"))), max_size=4))
def test_the_schema_says_the_same_without_what_is_alike(instances: list[Any]) -> None:
    """The reduced resource is accepted exactly where the whole one is, in both releases."""
    for release in ("r4", "r5"):
        made = resource(header(), release=release)
        made["series"][0]["instance"] = instances
        assert _accepts(without_alike(made), release) == _accepts(made, release)


def test_a_usual_series_leaves_one_instance() -> None:
    """Instances that differ in UID, number and title alone are represented by the first."""
    made = resource(*(header(number) for number in range(1, 50)))
    [series] = without_alike(made)["series"]
    assert len(series["instance"]) == 1
    assert len(made["series"][0]["instance"]) == 49
