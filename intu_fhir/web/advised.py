"""One thing that needs a person, as the pages and the API tell it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Stuck:
    """One thing that needs a person.

    Args:
        weight: ``dead`` needs one now, ``retrying`` soon, ``held`` has a decision to make.
        remedy: what to do.
        path: where to do it; empty = nowhere on this page.
        link: the same in two or three words.
    """

    weight: str
    what: str
    since: datetime | None
    remedy: str
    path: str
    link: str
