"""Nothing that a structured report can hold makes a build fail, or makes an invalid resource."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from intu_fhir.app.reading import read_studies
from intu_fhir.build.companions import BuiltCompanions, CompanionBuilder
from intu_fhir.build.imaging_study import BuildContext, build_imaging_study
from intu_fhir.mappings import Release, load_mapping
from intu_fhir.model.canonical import canonical_json
from intu_fhir.model.companion import DOSE, MEASUREMENTS
from intu_fhir.model.values import Values
from tests.support.reports import VOLUME, code, ct_dose, document, group, measured, num, words

_GROUP = group(
    num(VOLUME, "1.20", "cm3", uid="2.25.7"),
    code(("246205007", "SCT", "Quantity"), ("255507004", "SCT", "Small")),
    words(("121106", "DCM", "Comment"), "a comment"),
    uid="2.25.8",
)
_REPORTS = {"dose": ct_dose(), "measurements": measured(_GROUP)}
_STUDIES = {name: read_studies([report])[0] for name, report in _REPORTS.items()}
_DOCUMENTS = {name: document(report) for name, report in _REPORTS.items()}
_CONTEXT = BuildContext(time_zone="Europe/Berlin")

_TEXT = (
    st.text(max_size=20)
    | st.text(alphabet="0123456789.\\^=-+eE \0\ud800\ufffd", max_size=20)
    | st.sampled_from(["NUM", "CODE", "CONTAINER", "UCUM", "DCM", "0", "-0", "1e99", "NaN", "1/0"])
)
_NEW = (
    _TEXT
    | st.just([])
    | st.just([{}])
    | st.lists(st.dictionaries(st.sampled_from(["CodeValue", "NumericValue"]), _TEXT), max_size=2)
)


def _places(values: Values) -> list[tuple[Values, str]]:
    """Return every attribute of a document with the item that holds it."""
    found: list[tuple[Values, str]] = []
    for keyword, value in values.items():
        found.append((values, keyword))
        for inner in value if isinstance(value, list) else ():
            found += _places(inner)
    return found


def _leave_out(holder: Values, keyword: str, _: Any) -> None:
    holder.pop(keyword, None)


def _replace(holder: Values, keyword: str, new: Any) -> None:
    holder[keyword] = new


def _double(holder: Values, keyword: str, _: Any) -> None:
    value = holder.get(keyword)
    if isinstance(value, list):
        holder[keyword] = [*value, *copy.deepcopy(value)]


_CHANGES: list[Callable[[Values, str, Any], None]] = [_leave_out, _replace, _double]


def _build(name: str, values: Values, release: Release) -> BuiltCompanions:
    study, mapping = _STUDIES[name], load_mapping()
    resource = build_imaging_study(study, mapping, release, _CONTEXT).resource
    kinds = frozenset({DOSE, MEASUREMENTS})
    builder = CompanionBuilder(lambda _instance, _senders: values, "1.0")
    return builder.build(study, resource, kinds, mapping, release, _CONTEXT)


@settings(max_examples=300, deadline=None)
@given(
    data=st.data(), name=st.sampled_from(sorted(_REPORTS)), release=st.sampled_from(["r4", "r5"])
)
def test_any_change_of_a_report_is_built_or_noted(
    data: st.DataObject, name: str, release: Release
) -> None:
    """Whatever is changed, doubled or missing: nothing raises, nothing invalid is made.

    ``report_not_valid`` is the net below: a resource that fell into it was made wrongly.
    """
    values = copy.deepcopy(_DOCUMENTS[name])
    for _ in range(data.draw(st.integers(1, 4), label="changes")):
        places = _places(values)
        holder, keyword = places[data.draw(st.integers(0, len(places) - 1), label="place")]
        data.draw(st.sampled_from(_CHANGES), label="how")(holder, keyword, data.draw(_NEW))
        if not values:
            break
    built = _build(name, values, release)
    assert "report_not_valid" not in {finding.code for finding in built.findings}
    for one in built.companions:
        assert canonical_json(one.resource)
    identities = [one.identity for one in built.companions]
    assert len(identities) == len(set(identities))
