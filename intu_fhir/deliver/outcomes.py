"""What a far side's answer means for a delivery: three tables, and nothing else decides.

HTTP: FHIR R4 http (section "Summary" and 3.1.0.5), RFC 9110 section 15, RFC 6585.
DIMSE: PS3.4 B.2.3, PS3.7 annex C. Association reject: PS3.8 table 9-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from intu_fhir.model.cause import sentence as sentence
from intu_fhir.model.outcome import Dead, Retry


class Verdict(StrEnum):
    """What to do after an answer."""

    DELIVERED = "delivered"
    WARNING = "delivered with warning"
    RETRY = "retry"
    RENEW_TOKEN = "renew the token once"  # noqa: S105  (not a password)
    REREAD = "read again, then repeat"
    GONE = "search again"
    SHRINK = "send without instance lists"
    DEAD = "dead letter"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: what an answer means, and what a person can do about it."""

    verdict: Verdict
    meaning: str
    remedy: str = ""


_MEND = "mend what the server objects to (mapping or data), then replay"
_CONFIGURE = "correct base_url and restart, or correct the server, then replay"
_LATER = "it is tried again by itself"

HTTP_STATUSES: Mapping[int, Rule] = {
    200: Rule(Verdict.DELIVERED, "done"),
    201: Rule(Verdict.DELIVERED, "created"),
    202: Rule(Verdict.RETRY, "accepted, but not confirmed", _LATER),
    204: Rule(Verdict.DELIVERED, "done, nothing to show"),
    400: Rule(Verdict.DEAD, "the server cannot read the request", _MEND),
    401: Rule(
        Verdict.RENEW_TOKEN,
        "the server does not accept the credentials",
        "check auth of this destination, restart where it was wrong, then replay",
    ),
    403: Rule(
        Verdict.DEAD,
        "the server refuses this client or this patient",
        "have the scope or the access granted, then replay",
    ),
    404: Rule(Verdict.GONE, "the server does not know this address", _CONFIGURE),
    405: Rule(Verdict.DEAD, "the server does not offer this interaction", _CONFIGURE),
    406: Rule(Verdict.DEAD, "the server does not answer in FHIR JSON", _CONFIGURE),
    408: Rule(Verdict.RETRY, "the server waited too long for the request", _LATER),
    409: Rule(Verdict.REREAD, "somebody else changed the resource", _LATER),
    410: Rule(Verdict.GONE, "the resource was deleted at the server", _LATER),
    412: Rule(
        Verdict.REREAD,
        "the resource changed, or several match",
        "leave one resource with this identifier at the server, then replay",
    ),
    413: Rule(
        Verdict.SHRINK,
        "the resource is too large for the server",
        "raise the server's limit, or lower max_instances and restart, then replay",
    ),
    415: Rule(Verdict.DEAD, "the server does not take FHIR JSON", _CONFIGURE),
    422: Rule(Verdict.DEAD, "the server's rules refuse the resource", _MEND),
    425: Rule(Verdict.RETRY, "too early", _LATER),
    429: Rule(Verdict.RETRY, "the server asks for fewer requests", _LATER),
    500: Rule(Verdict.RETRY, "the server failed", _LATER),
    501: Rule(Verdict.DEAD, "the server does not offer this interaction", _CONFIGURE),
    502: Rule(Verdict.RETRY, "a gateway failed", _LATER),
    503: Rule(Verdict.RETRY, "the server is not available", _LATER),
    504: Rule(Verdict.RETRY, "a gateway waited too long", _LATER),
    507: Rule(Verdict.RETRY, "the server is full", _LATER),
}
"""By status code; ``http_rule`` answers for the rest."""

_OTHER_HTTP: Mapping[int, Rule] = {
    2: Rule(Verdict.RETRY, "an answer that confirms nothing", _LATER),
    3: Rule(
        Verdict.DEAD,
        "the server redirects; redirects are never followed",
        "set base_url to the address that the server means, restart, then replay",
    ),
    4: Rule(Verdict.DEAD, "the server refuses the request", _MEND),
    5: Rule(Verdict.RETRY, "the server failed", _LATER),
}
_NOBODY_THERE = frozenset({502, 503, 504})
"""The server as a whole is away, whatever was sent to it."""
_FEWER, _BUSY = 429, 503
"""Who answers so wants fewer requests, whatever they are about; 503 where it says for how long (RFC
6585 4, RFC 9110 15.6.4)."""
_PASSING = frozenset({409, 410})
"""Two writers at the same moment; HAPI FHIR says so to all but one that create the same. And what
another one deletes at that moment, or a search still finds for a while.
"""
_NO_HTTP = Rule(Verdict.RETRY, "not an HTTP answer that exists", _LATER)


def http_rule(status: int) -> Rule:
    """Return the row for an HTTP status."""
    return HTTP_STATUSES.get(status) or _OTHER_HTTP.get(status // 100, _NO_HTTP)


def failed(status: int, said: str = "", retry_after: float | None = None) -> Retry | Dead:
    """Return the outcome of an answer that nothing more can be done about now.

    Args:
        said: the server's own words, scrubbed.
        retry_after: the server's own wish, in seconds.
    """
    rule = http_rule(status)
    detail = sentence(f"HTTP {status}: {rule.meaning}", said, rule.remedy)
    if rule.verdict is Verdict.RETRY or status in _PASSING:
        return Retry(
            str(status),
            detail,
            retry_after,
            silent=status in _NOBODY_THERE,
            pauses=status == _FEWER or (status == _BUSY and retry_after is not None),
        )
    return Dead(str(status), detail)


def nothing_there(content_type: str) -> Retry:
    """Return the outcome of a 404 that no FHIR server has said.

    Application servers and proxies answer so while the FHIR server behind them is being started.
    """
    return Retry(
        "404",
        sentence(
            "HTTP 404, and not by a FHIR server",
            content_type[:60],
            "correct base_url and restart, if the server is not just being started",
        ),
    )


def unproven(status: int, shows: str, content_type: str) -> Retry:
    """Return the outcome of a success that comes with something else than it should.

    Who answers so may be a proxy or a page in front of a server that is away.
    """
    return Retry(
        str(status),
        sentence(
            f"HTTP {status}, but the server shows {shows}",
            content_type[:60],
            "check that base_url is the FHIR endpoint and no proxy answers for it",
        ),
    )


_SEND_OTHER = "the PACS does not take this instance as it is; change it or the PACS, then replay"

SOP_CLASS_NOT_SUPPORTED, NO_SUCH_CLASS = 0x0122, "SOP class not supported"
"""Status of C-STORE; what it and result 3 of a presentation context mean."""

DIMSE_STATUSES: Mapping[int, Rule] = {
    0x0000: Rule(Verdict.DELIVERED, "success"),
    0x0001: Rule(Verdict.WARNING, "a warning without more words"),
    0x0107: Rule(Verdict.WARNING, "attribute list error"),
    0x0110: Rule(Verdict.RETRY, "processing failure", _LATER),
    0x0111: Rule(Verdict.WARNING, "the PACS has this instance already"),
    0x0112: Rule(Verdict.DEAD, "no such SOP class", _SEND_OTHER),
    0x0116: Rule(Verdict.WARNING, "attribute value out of range"),
    0x0117: Rule(Verdict.DEAD, "invalid SOP instance", _SEND_OTHER),
    SOP_CLASS_NOT_SUPPORTED: Rule(
        Verdict.DEAD, NO_SUCH_CLASS, "have it enabled at the PACS, then replay"
    ),
    0x0124: Rule(Verdict.DEAD, "not authorised", "have our AE title allowed at the PACS, replay"),
    0x0210: Rule(Verdict.RETRY, "duplicate invocation", _LATER),
    0x0211: Rule(Verdict.DEAD, "unrecognised operation", "check that the peer is a storage SCP"),
    0x0212: Rule(Verdict.DEAD, "mistyped argument", _SEND_OTHER),
    0x0213: Rule(Verdict.RETRY, "resource limitation", _LATER),
    0x0214: Rule(Verdict.DEAD, "not authorised", "have our AE title allowed at the PACS, replay"),
    0xB000: Rule(Verdict.WARNING, "the PACS changed attributes (coercion)"),
    0xB006: Rule(Verdict.WARNING, "the PACS left out attributes"),
    0xB007: Rule(Verdict.WARNING, "the data set does not quite match its SOP class"),
}
"""C-STORE statuses that stand alone; 0112 and 0214 as PS3.2 table N.7-42 prints them."""

_OTHER_WARNING = Rule(Verdict.WARNING, "a warning of the PACS's own")

DIMSE_RANGES: tuple[tuple[range, Rule], ...] = (
    (range(0xA700, 0xA800), Rule(Verdict.RETRY, "out of resources", _LATER)),
    (
        range(0xA900, 0xAA00),
        Rule(Verdict.DEAD, "the data set does not match its SOP class", _SEND_OTHER),
    ),
    # Bxxx is of the class Warning (PS3.7 C.3): what was asked for is done.
    (range(0xB001, 0xB006), _OTHER_WARNING),
    (range(0xB008, 0xC000), _OTHER_WARNING),
    (range(0xC000, 0xD000), Rule(Verdict.DEAD, "the PACS cannot understand it", _SEND_OTHER)),
)
_UNKNOWN_DIMSE = Rule(Verdict.RETRY, "a status that no standard names", _LATER)


def dimse_rule(status: int) -> Rule:
    """Return the row for a C-STORE status (PS3.4 B.2.3, PS3.7 annex C)."""
    if rule := DIMSE_STATUSES.get(status):
        return rule
    return next((rule for codes, rule in DIMSE_RANGES if status in codes), _UNKNOWN_DIMSE)


CONTEXT_RESULTS: Mapping[int, str] = {
    0: "acceptance",
    1: "user rejection",
    2: "no reason given",
    3: NO_SUCH_CLASS,
    4: "transfer syntax not supported",
}
"""Results of a presentation context (PS3.8 table 9-18)."""

_ALLOW = "have our ae_title entered at the PACS, or correct it and restart, then replay"

REJECTIONS: Mapping[tuple[int, int], Rule] = {
    (1, 1): Rule(Verdict.RETRY, "no reason given", _LATER),
    (1, 2): Rule(Verdict.DEAD, "application context not supported", "check that it is a PACS"),
    (1, 3): Rule(Verdict.DEAD, "the PACS does not know our AE title", _ALLOW),
    (1, 7): Rule(
        Verdict.DEAD,
        "the PACS does not know the called AE title",
        "correct called_ae_title, restart, then replay",
    ),
    (2, 1): Rule(Verdict.RETRY, "no reason given by the ACSE provider", _LATER),
    (2, 2): Rule(Verdict.DEAD, "protocol version not supported", "check that it is a PACS"),
    (3, 1): Rule(Verdict.RETRY, "temporary congestion", _LATER),
    (3, 2): Rule(Verdict.RETRY, "local limit exceeded", _LATER),
}
"""A-ASSOCIATE-RJ by source and reason (PS3.8 table 9-21)."""

_TRANSIENT = 2
_UNKNOWN_REJECTION = Rule(Verdict.RETRY, "a reason that no standard names", _LATER)


def rejected(result: int, source: int, reason: int, *, theirs: str, ours: str) -> Retry | Dead:
    """Return the outcome of an A-ASSOCIATE-RJ; what the peer calls transient is tried again.

    Args:
        theirs: the AE title that was called, and where.
        ours: the AE title that called.
    """
    rule = REJECTIONS.get((source, reason), _UNKNOWN_REJECTION)
    status = f"A-ASSOCIATE-RJ {result}/{source}/{reason}"
    detail = sentence(
        f"{theirs} rejects the association of {ours}: {rule.meaning}", "", rule.remedy
    )
    if result == _TRANSIENT or rule.verdict is Verdict.RETRY:
        return Retry(status, detail)
    return Dead(status, detail)
