"""Collects what could not be converted, without repeating itself and without any value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from intu_fhir.model.finding import IMAGES_EXPIRED, INSTANCES_LEFT_OUT, Finding, Severity

MOST_PER_CODE = 20
"""How many findings of one code and attribute are told one by one."""

_WARNING, _INFORMATION, _ERROR = Severity.WARNING, Severity.INFORMATION, Severity.ERROR

REASONS: Mapping[str, tuple[Severity, str]] = {
    "damaged_text": (_WARNING, "text could not be decoded; it is left out"),
    "text_shortened": (_INFORMATION, "longer than the mapping allows; its beginning is kept"),
    "several_values": (_INFORMATION, "has several values where one is allowed; the first counts"),
    "invalid_number": (_WARNING, "not a whole number from 0 to 2147483647; it is left out"),
    "invalid_date": (_WARNING, "not a date; it is left out"),
    "partial_date": (_WARNING, "a year or month alone is not a date; it is left out"),
    "implausible_date": (_WARNING, "before 1890 or in the future; it is kept"),
    "invalid_time": (_WARNING, "not a time of day; the date alone is kept"),
    "time_of_hour": (_INFORMATION, "names the hour alone; the date alone is kept"),
    "fraction_cut": (_INFORMATION, "more than 6 fraction digits; 6 are kept"),
    "leap_second": (_INFORMATION, "second 60 is written as 59, as the mapping asks"),
    "time_without_zone": (
        _INFORMATION,
        "no zone in the header and none configured (time_zone); the date alone is kept",
    ),
    "unknown_zone": (_WARNING, "not an offset such as +0100; the configured zone counts"),
    "invalid_zone": (_WARNING, "an offset that no zone has; the time is left out"),
    "zone_disagrees": (_WARNING, "differs from the configured zone; the header counts"),
    "ambiguous_local_time": (_WARNING, "the clock showed this time twice; the first is taken"),
    "skipped_local_time": (_WARNING, "the clock never showed this time; the later offset is taken"),
    "started_derived": (_INFORMATION, "absent; the start is the earliest time of series or images"),
    "uid_leading_zero": (_WARNING, "a component begins with 0 (PS3.5 9.1); kept as it is"),
    "invalid_uid": (_ERROR, "not a UID (PS3.5 9.1)"),
    "identifier_without_system": (
        _INFORMATION,
        "its issuer is unknown; name the system under identifiers of intu.yaml",
    ),
    "issuer_unknown": (
        _WARNING,
        "names an issuer that identifiers.by_issuer does not know; the default counts",
    ),
    "senders_disagree": (_WARNING, "its senders have different systems; the first one counts"),
    "value_too_long": (_WARNING, "longer than the standard allows; kept as it is"),
    "subject_unknown": (
        _ERROR,
        "no usable Patient ID; correct it at its source, or let the mapping send such studies "
        "(subject: {unknown: publish})",
    ),
    "subject_is_phantom": (
        _ERROR,
        "a phantom or quality control object; the mapping may send it (subject: {not_a_patient: "
        "publish})",
    ),
    "subject_is_animal": (
        _ERROR,
        "an animal; the mapping may send it as a patient (subject: {not_a_patient: publish})",
    ),
    "subject_marked_unknown": (_WARNING, "no usable Patient ID; the subject is marked as unknown"),
    "subject_sent_as_patient": (_WARNING, "a phantom or an animal, sent as the mapping asks"),
    "phantom_imaged": (_INFORMATION, "a phantom, by its body part; check that it is no patient"),
    "subject_anonymous": (_INFORMATION, "the patient's identity was removed from the header"),
    "unknown_modality": (_WARNING, "no known term; its SOP class decides, else it is unknown"),
    "retired_modality": (_INFORMATION, "a retired term; it is sent as it is"),
    "unknown_body_site": (_INFORMATION, "not in the table of body sites; sent as text"),
    "unknown_laterality": (_WARNING, "not L, R, B or U; it is left out"),
    "unknown_code": (_INFORMATION, "not in the table; sent as text or left out"),
    "unknown_coding_scheme": (
        _INFORMATION,
        "a coding scheme that coding_schemes.csv does not know; the meaning is sent as text",
    ),
    "untranslated_code": (_WARNING, "has no SNOMED CT translation; the meaning is sent as text"),
    "incomplete_code": (_INFORMATION, "neither code nor meaning; it is left out"),
    "repeated_name": (_INFORMATION, "the same person twice; named once"),
    INSTANCES_LEFT_OUT: (
        _INFORMATION,
        "too many or too large to list; counts are complete, instances are not listed",
    ),
    "report_too_large": (
        _WARNING,
        "deeper or larger than is read; nothing is made of the report",
    ),
    "report_of_other": (
        _WARNING,
        "speaks of another patient or study; nothing is made of the report",
    ),
    "report_superseded": (
        _INFORMATION,
        "a later report takes its place; nothing is made of this one",
    ),
    "report_without_values": (_INFORMATION, "holds no value that is sent"),
    "report_not_valid": (
        _WARNING,
        "a resource made of the report breaks FHIR and is not sent",
    ),
    "document_not_valid": (
        _WARNING,
        "the DocumentReference of the study breaks FHIR and is not sent; look at the mapping",
    ),
    "invalid_decimal": (_WARNING, "not a decimal number; it is left out"),
    "repeated_uid": (_WARNING, "the same UID twice; the first one counts"),
    IMAGES_EXPIRED: (
        _INFORMATION,
        "the images were deleted in due time; the study is kept without endpoint (IHE IOCM)",
    ),
    "instances_rejected": (_INFORMATION, "a rejection note takes instances out (IHE IOCM)"),
}
"""Severity and wording of every code; a message is the attribute and this, never a value."""


class Notes:
    """Findings of one build."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str, str], Finding] = {}
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, code: str, level: str, uid: str, attribute: str) -> None:
        """Note ``code`` about an attribute of a study, series or instance."""
        key = (code, level, uid, attribute)
        if key in self._found:
            return
        self._counts[code, attribute] += 1
        if self._counts[code, attribute] > MOST_PER_CODE:
            return
        severity, reason = REASONS[code]
        self._found[key] = Finding(severity, code, f"{attribute}: {reason}", level, uid, attribute)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was noted, in order; what came too often is counted at the end."""
        more = [
            Finding(
                REASONS[code][0],
                code,
                f"{attribute}: {REASONS[code][1]}; {count - MOST_PER_CODE} more",
                "study",
                attribute=attribute,
            )
            for (code, attribute), count in self._counts.items()
            if count > MOST_PER_CODE
        ]
        return (*self._found.values(), *more)
