"""How long a server asks to be left alone, and what time it has: headers that anybody may write.

Whatever stands in them, the answer is a number, a time or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_TOO_MANY = 429
_RESETS = ("x-ratelimit-reset", "x-rate-limit-reset", "ratelimit-reset")
_RESET = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)
_POLICY = re.compile(r"(?:^|[;,\s])(?:t|reset)\s*=\s*([0-9]{1,9})(?![0-9])", re.ASCII)
_A_TIME = 10**9
"""From here on a reset is no longer a number of seconds but a time since 1970, as some send it."""
_MILLISECONDS = 10**11


def wait_asked_for(status: int, headers: Mapping[str, str], now: datetime) -> float | None:
    """Return for how many seconds a server wants nothing more; None where it does not say.

    Retry-After (RFC 9110 10.2.3). Where a 429 lacks that, when the rate limit begins anew:
    ``X-RateLimit-Reset`` and its like, or ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers).
    Other answers may bear those as well, and ask for nothing by it.
    """
    wait = retry_after_seconds(headers.get("retry-after", ""), now)
    if wait is not None or status != _TOO_MANY:
        return wait
    resets = (_reset_seconds(headers.get(name, ""), now) for name in _RESETS)
    found = next((reset for reset in resets if reset is not None), None)
    if found is not None:
        return found
    policies = _POLICY.findall(headers.get("ratelimit", ""))
    return max(map(float, policies), default=None)


def retry_after_seconds(value: str, now: datetime) -> float | None:
    """Read Retry-After: seconds or an HTTP date (RFC 9110 10.2.3); None where it is neither."""
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return float(value)
    until = http_date(value)
    return None if until is None else max((until - now).total_seconds(), 0.0)


def _reset_seconds(value: str, now: datetime) -> float | None:
    """Read when a rate limit begins anew: in so many seconds, or at a time since 1970."""
    if not _RESET.fullmatch(value := value.strip()):
        return None
    number = float(value)
    if number < _A_TIME:
        return number
    since_1970 = number / 1_000 if number >= _MILLISECONDS else number
    return max(since_1970 - now.timestamp(), 0.0)


def http_date(value: str) -> datetime | None:
    """Read a date of a header (RFC 9110 5.6.7), which without a zone is UTC."""
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the second where a number is too large for the library
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
