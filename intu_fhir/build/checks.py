"""Semantic checks of an ImagingStudy that no schema makes, each by its name S01 to S19.

The comments name the invariants of the FHIR R6 draft that say the same (ist-1 to ist-7).
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from intu_fhir.build.forms import (
    View,
    s13_plausible,
    s13_times,
    s14_contained,
    s15_release,
    s16_order_of_times,
)
from intu_fhir.build.identifiers import DICOM_UID
from intu_fhir.build.walk import Problem, dicts, references, values_wrong
from intu_fhir.model.finding import Finding, Severity
from intu_fhir.model.uid import is_uid

STATUSES = frozenset({"registered", "available", "cancelled", "entered-in-error", "unknown"})
_URN_OID = re.compile(r"urn:oid:[0-2](?:\.\d+)+", re.ASCII)
_STRICT_URN_OID = re.compile(r"urn:oid:[0-2](?:\.(?:0|[1-9]\d*))+", re.ASCII)
_MAX_INTEGER = 2**31 - 1
_ERROR, _WARNING = Severity.ERROR, Severity.WARNING


def _s01_study_uid(view: View) -> Iterator[Problem]:
    """Exactly one study UID among the identifiers (ist-1, ist-2)."""
    found = [i for i in dicts(view.resource.get("identifier")) if i.get("system") == DICOM_UID]
    values = [str(one.get("value")) for one in found]
    if len(found) > 1 or (view.series and not found):
        yield "identifier", f"has {len(found)} study UIDs (urn:dicom:uid) instead of one"
    if any(not _URN_OID.fullmatch(value) for value in values):
        yield "identifier", "the study UID is not urn:oid: and a UID"


def _s01_leading_zero(view: View) -> Iterator[Problem]:
    """No component of the study UID begins with 0."""
    for one in dicts(view.resource.get("identifier")):
        value = str(one.get("value"))
        loose = one.get("system") == DICOM_UID and _URN_OID.fullmatch(value)
        if loose and not _STRICT_URN_OID.fullmatch(value):
            yield "identifier", "a component of the study UID begins with 0 (PS3.5 9.1)"


def _s02_number_of_series(view: View) -> Iterator[Problem]:
    """The number of series is that of the list, unless it is left out (ist-3)."""
    number = view.resource.get("numberOfSeries")
    if view.series and number is not None and number != len(view.series):
        yield "numberOfSeries", f"is not {len(view.series)}, the number of listed series"


def _s03_number_of_instances(view: View) -> Iterator[Problem]:
    """The number of instances is the sum over the series (ist-4)."""
    number = view.resource.get("numberOfInstances")
    counts = [one.get("numberOfInstances") for one in view.series]
    known = [count for count in counts if isinstance(count, int)]
    if number is not None and counts and len(known) == len(counts) and number != sum(known):
        yield "numberOfInstances", f"is not {sum(known)}, the sum over the series"


def _s04_series_uids(view: View) -> Iterator[Problem]:
    """Series UIDs are distinct (ist-5)."""
    for uid, count in Counter(str(one.get("uid")) for one in view.series).items():
        if count > 1:
            yield "series.uid", f"{uid[:64]} stands there {count} times"


def _s05_listed_instances(view: View) -> Iterator[Problem]:
    """A series with listed instances has as many as it says (ist-6)."""
    for at, series in enumerate(view.series):
        listed, number = dicts(series.get("instance")), series.get("numberOfInstances")
        if listed and number is not None and number != len(listed):
            path = f"series[{at}].numberOfInstances"
            yield path, f"is not {len(listed)}, the number of listed instances"


def _s06_modalities(view: View) -> Iterator[Problem]:
    """Study modalities are distinct and those of series (ist-7)."""
    listed = [code for one in dicts(view.resource.get("modality")) for code in _codes(one)]
    there = {code for series in view.series for code in _codes(series.get("modality"))}
    if len(set(listed)) < len(listed):
        yield "modality", "names a modality twice"
    if view.series and not set(listed) <= there:
        yield "modality", "names a modality that no series has"


def _codes(value: Any) -> list[tuple[str, str]]:
    """Return system and code of a Coding or a CodeableConcept."""
    if not isinstance(value, dict):
        return []
    found = dicts(value.get("coding")) if "coding" in value else [value]
    return [(str(one.get("system")), str(one["code"])) for one in found if "code" in one]


def _s07_instance_uids(view: View) -> Iterator[Problem]:
    """SOP Instance UIDs are distinct over the study."""
    uids = [instance.get("uid") for instance in view.instances]
    if len(set(map(str, uids))) < len(uids):
        for uid, count in Counter(map(str, uids)).items():
            if count > 1:
                yield "series.instance.uid", f"{uid[:64]} stands there {count} times"


def _s08_status(view: View) -> Iterator[Problem]:
    """The status is one of the five codes."""
    if str(view.resource.get("status")) not in STATUSES:
        yield "status", f"must be one of {', '.join(sorted(STATUSES))}"


def _s09_uids(view: View) -> Iterator[Problem]:
    """UIDs are digits and dots, at most 64 characters; SOP classes are urn:oid:."""
    for at, series in enumerate(view.series):
        if not is_uid(str(series.get("uid", ""))):
            yield f"series[{at}].uid", "is not a UID (PS3.5 9.1)"
    known: set[int] = set()
    for at, instance in enumerate(view.instances):
        uid = instance.get("uid")
        if type(uid) is not str or not is_uid(uid):
            yield f"{view.path_of(at)}.uid", "is not a UID (PS3.5 9.1)"
        sop_class = instance.get("sopClass")
        if id(sop_class) not in known:
            known.add(id(sop_class))
            code = str(sop_class.get("code", "")) if isinstance(sop_class, dict) else ""
            if not code.startswith("urn:oid:") or not is_uid(code.removeprefix("urn:oid:")):
                yield f"{view.path_of(at)}.sopClass", "is not urn:oid: and a UID"


def _s10_subject(view: View) -> Iterator[Problem]:
    """The subject refers to somebody, or says that nobody is known."""
    subject = view.resource.get("subject")
    if not isinstance(subject, dict):
        yield "subject", "is missing"
        return
    absent = any(
        str(one.get("url", "")).endswith("/data-absent-reason")
        for one in dicts(subject.get("extension"))
    )
    if not (subject.get("reference") or subject.get("identifier") or absent):
        yield "subject", "has neither reference nor identifier"


def _s11_references(view: View) -> Iterator[Problem]:
    """Every reference leads to a resource of a type that its element allows."""
    yield from references(view.resource, view.release)


def _s12_values(view: View) -> Iterator[Problem]:
    """No code without system, nothing empty, no control or replacement characters."""
    yield from values_wrong(view.resource)


def _s18_acquisition(view: View) -> Iterator[Problem]:
    """In R4 the study names acquisition modalities only (PS3.16 CID 29)."""
    listed = {code for one in dicts(view.resource.get("modality")) for _, code in _codes(one)}
    if view.release == "r4" and not listed <= view.acquisition:
        yield "modality", "names a modality that is not one of acquisition (CID 29)"


def _s19_numbers(view: View) -> Iterator[Problem]:
    """Numbers are whole ones from 0 to 2147483647."""
    for name in ("numberOfSeries", "numberOfInstances"):
        if not _is_number(view.resource.get(name, 0)):
            yield name, "is not a number from 0 to 2147483647"
    for at, series in enumerate(view.series):
        for name in ("number", "numberOfInstances"):
            if not _is_number(series.get(name, 0)):
                yield f"series[{at}].{name}", "is not a number from 0 to 2147483647"
    for at, instance in enumerate(view.instances):
        if not _is_number(instance.get("number", 0)):
            yield f"{view.path_of(at)}.number", "is not a number from 0 to 2147483647"


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_INTEGER


CHECKS: tuple[tuple[str, Severity, Callable[[View], Iterator[Problem]]], ...] = (
    ("S01", _ERROR, _s01_study_uid),
    ("S01", _WARNING, _s01_leading_zero),
    ("S02", _ERROR, _s02_number_of_series),
    ("S03", _ERROR, _s03_number_of_instances),
    ("S04", _ERROR, _s04_series_uids),
    ("S05", _ERROR, _s05_listed_instances),
    ("S06", _ERROR, _s06_modalities),
    ("S07", _ERROR, _s07_instance_uids),
    ("S08", _ERROR, _s08_status),
    ("S09", _ERROR, _s09_uids),
    ("S10", _ERROR, _s10_subject),
    ("S11", _ERROR, _s11_references),
    ("S12", _ERROR, _s12_values),
    ("S13", _ERROR, s13_times),
    ("S13", _WARNING, s13_plausible),
    ("S14", _ERROR, s14_contained),
    ("S15", _ERROR, s15_release),
    ("S16", _WARNING, s16_order_of_times),
    ("S18", _ERROR, _s18_acquisition),
    ("S19", _ERROR, _s19_numbers),
)
"""Every check with its name and weight; S17, the size, is judged where the site's limit is known,
S20 beside the schema."""

ASKED: Mapping[tuple[str, str], str] = {
    **{(code, severity.value): inspect.getdoc(check) or "" for code, severity, check in CHECKS},
    ("S17", _ERROR.value): "The resource is no larger than the destination takes.",
    ("S20", _ERROR.value): "Nothing is lost when the resource is read.",
}
"""What must hold, by code and severity, for people who read a finding."""

MOST_PER_CHECK = 20


def run_checks(view: View) -> list[Finding]:
    """Return what the checks find, at most 20 findings each."""
    found = []
    for code, severity, check in CHECKS:
        for number, (path, message) in enumerate(check(view)):
            if number == MOST_PER_CHECK:
                break
            found.append(Finding(severity, code, f"{path}: {message}", attribute=path))
    return found
