"""Whatever order headers come in, the study and its resource are the same (S21)."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from intu_fhir.aggregate.merge import merge_headers
from intu_fhir.build.imaging_study import build_imaging_study
from intu_fhir.build.validate import validate_resource
from intu_fhir.mappings import Release, load_mapping
from intu_fhir.model.canonical import canonical_json
from intu_fhir.model.finding import errors
from tests.support.building import BERLIN, STUDY_UID, code_item, header, staged

_few = st.sampled_from
_issuers = _few(
    [
        None,
        [{"LocalNamespaceEntityID": "H"}],
        [{"UniversalEntityID": "1.2.3", "UniversalEntityIDType": "ISO"}],
    ]
)
_VALUES = {
    "Modality": _few(["CT", "MR", "SR", "KO", "x", "", None]),
    "StudyDate": _few(["20240301", "20240302", "", "bad", None]),
    "StudyTime": _few(["101500", "1016", "", "10", None]),
    "SeriesDate": _few(["20240301", "20240302", None]),
    "SeriesTime": _few(["120000", None]),
    "TimezoneOffsetFromUTC": _few(["+0100", "-0500", "-0000", None]),
    "StudyDescription": _few(["A", "B ", " B", "\N{REPLACEMENT CHARACTER}", None]),
    "AccessionNumber": _few(["1", "2", "1\\2", None]),
    "IssuerOfAccessionNumberSequence": _issuers,
    "IssuerOfPatientID": _few(["H", None]),
    "PatientID": _few(["P", "P ", "0"]),
    "OperatorsName": _few(["A^B", "A^B\\C^D", "C^D", None]),
    "ReferringPhysicianName": _few(["R", "S", "^", None]),
    "BodyPartExamined": _few(["CHEST", "HEAD", "x", None]),
    "ImageLaterality": _few(["L", "R", "U", None]),
    "ProcedureCodeSequence": _few([None, [], [code_item("1", "LN", "a")], [code_item("2", "L")]]),
    "SeriesNumber": _few(["1", "2", "", "x"]),
    "InstanceNumber": _few(["1", "2", "", "-1"]),
}
_header = st.builds(
    lambda number, series, values: header(number, series=series, **values),
    st.integers(1, 12),
    st.integers(1, 3),
    st.fixed_dictionaries({}, optional=_VALUES),
)


def _unique(headers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({one["uid"]: one for one in headers}.values())


def _bytes(headers: list[dict[str, Any]], release: Release, calling: tuple[str, ...]) -> bytes:
    study = merge_headers(STUDY_UID, staged(headers), calling, 1)
    built = build_imaging_study(study, load_mapping(), release, BERLIN)
    assert errors(validate_resource(built.resource, release)) == []
    shown = [finding.as_dict() for finding in (*study.findings, *built.findings)]
    return canonical_json({"resource": built.resource, "findings": shown})


@settings(max_examples=150, deadline=None)
@given(
    headers=st.lists(_header, min_size=1, max_size=14).map(_unique),
    seed=st.randoms(use_true_random=False),
    release=_few(["r4", "r5"]),
)
def test_order_does_not_matter(
    headers: list[dict[str, Any]], seed: random.Random, release: Release
) -> None:
    """Shuffled headers make the same bytes, findings included, and a valid resource."""
    shuffled = seed.sample(headers, len(headers))
    assert _bytes(headers, release, ("A", "B")) == _bytes(shuffled, release, ("B", "A"))
