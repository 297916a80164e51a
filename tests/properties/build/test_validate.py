"""Validation ends with findings for whatever JSON it is given."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from intu_fhir.build.validate import validate_resource
from intu_fhir.mappings import Release
from tests.support.building import code_item, header, resource

_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
)
_ANYTHING = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["code", "system", "uid", "type", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
_RESOURCES = {
    release: resource(
        header(1, AccessionNumber="A", ReferringPhysicianName="A^B", Laterality="L"),
        header(1, series=2, Modality="SR", ConceptNameCodeSequence=[code_item("1", "DCM", "x")]),
        release=release,
    )
    for release in ("r4", "r5")
}


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = [path] if path else []
    for key, one in inner:
        found += _places(one, (*path, key))
    return found


@settings(max_examples=300, deadline=None)
@given(data=st.data(), release=st.sampled_from(["r4", "r5"]), value=_ANYTHING)
def test_any_value_at_any_place(data: st.DataObject, release: Release, value: Any) -> None:
    """A strange value anywhere in a resource never raises."""
    made = copy.deepcopy(_RESOURCES[release])
    path = data.draw(st.sampled_from(_places(made)))
    holder: Any = made
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = value
    for finding in validate_resource(made, release):
        assert finding.message
