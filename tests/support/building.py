"""Studies as staged, without any file, and what is built of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from intu_fhir.aggregate.merge import merge_headers
from intu_fhir.build.imaging_study import BuildContext, Built, build_imaging_study
from intu_fhir.build.validate import validate_resource
from intu_fhir.mappings import Mapping as StudyMapping
from intu_fhir.mappings import Release, acquisition_modalities, load_mapping, staged_attributes
from intu_fhir.model.finding import errors
from intu_fhir.model.settling import SeriesHeaders
from intu_fhir.model.study import HeaderGroup, Instance, Study
from intu_fhir.model.values import text

STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SR = "1.2.840.10008.5.1.4.1.1.88.22"
KO = "1.2.840.10008.5.1.4.1.1.88.59"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_NAMES = frozenset({"uid", "series_uid", "sop_class"})
CLASSES = {"CT": CT, "MR": MR, "SR": SR, "KO": KO, "SEG": SEG, "DOC": PDF}

BERLIN = BuildContext(time_zone="Europe/Berlin")
DEFAULTS: dict[str, Any] = {
    "PatientID": "P1",
    "Modality": "CT",
    "StudyDate": "20240301",
    "StudyTime": "101530",
}


def header(number: int = 1, *, series: int = 1, **values: Any) -> dict[str, Any]:
    """Return the raw values of one instance by keyword; None removes a default one.

    ``uid``, ``series_uid`` and ``sop_class`` name it; otherwise its numbers do.
    """
    made = {
        "uid": f"{STUDY_UID}.{series}.{number}",
        "series_uid": f"{STUDY_UID}.{series}",
        "SeriesNumber": str(series),
        "InstanceNumber": str(number),
        **DEFAULTS,
        **values,
    }
    made.setdefault("sop_class", CLASSES.get(str(made.get("Modality")), CT))
    return {key: value for key, value in made.items() if value is not None}


def staged(headers: Iterable[Mapping[str, Any]]) -> dict[str, SeriesHeaders]:
    """Return headers as staging groups them."""
    by_series: dict[str, list[Mapping[str, Any]]] = {}
    for one in headers:
        by_series.setdefault(one["series_uid"], []).append(one)
    return {uid: _series(members) for uid, members in by_series.items()}


def _series(members: list[Mapping[str, Any]]) -> SeriesHeaders:
    levels = staged_attributes()
    groups: list[tuple[dict[str, Any], list[Mapping[str, Any]]]] = []
    for one in members:
        shared = {k: v for k, v in one.items() if k not in _NAMES and levels.get(k) != "instance"}
        sharing = next((sharing for values, sharing in groups if values == shared), None)
        if sharing is None:
            groups.append((shared, [one]))
        else:
            sharing.append(one)
    acquired = acquisition_modalities()
    return SeriesHeaders(
        groups=tuple(
            HeaderGroup(
                values=values,
                count=len(sharing),
                first=min(_position(one) for one in sharing),
                acquired=text(values, "Modality").upper() in acquired,
            )
            for values, sharing in groups
        ),
        instances=tuple(
            Instance(
                uid=one["uid"],
                sop_class_uid=one["sop_class"],
                values={k: v for k, v in one.items() if levels.get(k) == "instance"},
                file=f"instances/{one['uid']}.dcm",
            )
            for one in members
        ),
    )


def _position(one: Mapping[str, Any]) -> tuple[int, int, str]:
    return _number(one.get("SeriesNumber")), _number(one.get("InstanceNumber")), one["uid"]


def _number(raw: Any) -> int:
    return int(raw) if isinstance(raw, str) and raw.isascii() and raw.isdigit() else 2**31


def merged(*headers: Mapping[str, Any], calling: tuple[str, ...] = ()) -> Study:
    """Return the study that headers make."""
    return merge_headers(STUDY_UID, staged(headers), calling, 1)


def build(
    *headers: Mapping[str, Any],
    release: Release = "r4",
    context: BuildContext = BERLIN,
    mapping: StudyMapping | None = None,
    calling: tuple[str, ...] = (),
) -> Built:
    """Return what is built of headers; without any, of one plain CT image."""
    study = merged(*(headers or (header(),)), calling=calling)
    return build_imaging_study(study, mapping or load_mapping(), release, context)


def resource(*headers: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Return the resource of headers, which has to be valid."""
    built = build(*headers, **options)
    wrong = errors(validate_resource(built.resource, options.get("release", "r4")))
    assert wrong == []
    return built.resource


def codes(built: Built) -> set[str]:
    """Return the codes of what was noted."""
    return {finding.code for finding in built.findings}


def code_item(code: str, scheme: str, meaning: str = "", **more: Any) -> dict[str, Any]:
    """Return an item of a code sequence."""
    item = {"CodeValue": code, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning, **more}
    return {key: value for key, value in item.items() if value}
