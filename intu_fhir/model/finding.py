"""Something noticed about a header or a resource."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Severity(StrEnum):
    """ERROR keeps a resource from being sent; WARNING and INFORMATION only inform."""

    ERROR = "error"
    WARNING = "warning"
    INFORMATION = "information"


IMAGES_EXPIRED = "images_expired"
"""Code of what a study has whose images were deleted in due time; no endpoint leads to them."""

INSTANCES_LEFT_OUT = "instances_left_out"
"""Code of what a study has whose instances are counted in its resource and not listed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark; ``message`` names attributes and UIDs, never a patient's values.

    Args:
        code: a short stable name, such as ``S03`` or ``time_without_zone``.
        level: ``study``, ``series``, ``instance`` or ``resource``.
        uid: the study, series or instance it is about.
        attribute: DICOM keyword or FHIR path it is about.
    """

    severity: Severity
    code: str
    message: str
    level: str = "resource"
    uid: str = ""
    attribute: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the finding as JSON-ready strings."""
        return {key: str(value) for key, value in asdict(self).items() if value}


def beside(message: str, attribute: str) -> str:
    """Return a message for where its attribute stands beside it already: not to say it twice."""
    return message.removeprefix(f"{attribute}: ")


def errors(findings: tuple[Finding, ...] | list[Finding]) -> list[Finding]:
    """Return those findings that forbid sending."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]
