"""What one look of a check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One thing that was looked at.

    Args:
        what: ``configuration``, ``receiver``, ``database``, ``files``, ``channel``, ``received``,
            ``web`` or ``destination``.
        subject: which one.
        detail: what was found.
        remedy: what to do where it is not ok, or what to think of where it is.
    """

    what: str
    subject: str
    ok: bool
    detail: str
    remedy: str = ""
