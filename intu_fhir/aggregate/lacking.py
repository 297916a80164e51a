"""Values that the mapping wants of older instances and that nothing here holds any more."""

from __future__ import annotations

from intu_fhir.model.finding import Finding, Severity
from intu_fhir.model.settling import StudyHeaders

HEADER_REMOVED = "header_removed"


def lacking_headers(study: StudyHeaders) -> tuple[Finding, ...]:
    """Return an error where headers are lacking: a study built without them may be a wrong one."""
    if not study.unread:
        return ()
    finding = Finding(
        Severity.ERROR,
        HEADER_REMOVED,
        f"The mapping wants other attributes than were staged of {len(study.unread)} instances, "
        f"such as {study.unread[0]}; their complete headers were removed by retention and their "
        "files are gone. Have them sent again, or go back to the mapping of before",
        "study",
        study.study_instance_uid,
    )
    return (finding,)
