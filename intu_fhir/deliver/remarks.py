"""What is remarked on a delivery that sends a part of it only, or nothing at all."""

from __future__ import annotations

NOT_SENT = "not sent:"
AS_DOCUMENT = "sent as DocumentReference"
LEFT_OUT = "which go beside an ImagingStudy alone"
_SAID_EACH_TIME = (NOT_SENT, AS_DOCUMENT, LEFT_OUT)
"""What every delivery finds out by itself: a server may take today what it did not yesterday."""
_BETWEEN = "; "


def joined(*remarks: str) -> str:
    """Return all that is said, each once."""
    return _BETWEEN.join(dict.fromkeys(filter(None, remarks)))


def still_said(before: str, *now: str) -> str:
    """Add what was said of a resource when it was sent, where it was not sent again since."""
    parts = before.split(_BETWEEN)
    kept = [part for part in parts if not any(words in part for words in _SAID_EACH_TIME)]
    return joined(*kept, *now)


def unlisted(count: int) -> str:
    """Say that a study was sent without its instances, which are counted there."""
    return f"sent without the list of its {count} instances, for their number"
