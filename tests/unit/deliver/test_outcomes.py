"""The tables of what an answer means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from intu_fhir.deliver.outcomes import (
    DIMSE_RANGES,
    DIMSE_STATUSES,
    HTTP_STATUSES,
    REJECTIONS,
    Verdict,
    dimse_rule,
    failed,
    http_rule,
    rejected,
    sentence,
)
from intu_fhir.deliver.waits import retry_after_seconds, wait_asked_for
from intu_fhir.model.cause import cause_of
from intu_fhir.model.outcome import Dead, Retry

NOW = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)

HTTP_EXPECTED = {
    Verdict.DELIVERED: {200, 201, 204},
    Verdict.RETRY: {202, 408, 425, 429, 500, 502, 503, 504, 507},
    Verdict.RENEW_TOKEN: {401},
    Verdict.REREAD: {409, 412},
    Verdict.GONE: {404, 410},
    Verdict.SHRINK: {413},
    Verdict.DEAD: {400, 403, 405, 406, 415, 422, 501},
}
DIMSE_EXPECTED = {
    Verdict.DELIVERED: {0x0000},
    Verdict.WARNING: {
        0xB000, 0xB006, 0xB007, 0x0111, 0x0107, 0x0116, 0x0001, 0xB001, 0xB005, 0xB008, 0xB123,
        0xBFFF,
    },
    Verdict.RETRY: {0xA700, 0xA701, 0xA7FF, 0x0110, 0x0213, 0x0210, 0x1234, 0xFF00},
    Verdict.DEAD: {
        0xA900, 0xA9FF, 0xC000, 0xC123, 0xCFFF, 0x0117, 0x0122, 0x0124, 0x0112, 0x0214, 0x0211,
        0x0212,
    },
}  # fmt: skip
TRANSIENT, PERMANENT = 2, 1
REJECTIONS_EXPECTED = {
    Retry: {(1, 1), (2, 1), (3, 1), (3, 2)},
    Dead: {(1, 2), (1, 3), (1, 7), (2, 2)},
}


@pytest.mark.parametrize("status", sorted(HTTP_STATUSES))
def test_every_http_row(status: int) -> None:
    """Each HTTP status of the table has the verdict that the fault list gives it."""
    expected = next(verdict for verdict, codes in HTTP_EXPECTED.items() if status in codes)
    assert http_rule(status).verdict is expected


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (206, Verdict.RETRY), (301, Verdict.DEAD), (302, Verdict.DEAD), (303, Verdict.DEAD),
        (307, Verdict.DEAD), (308, Verdict.DEAD), (418, Verdict.DEAD), (451, Verdict.DEAD),
        (599, Verdict.RETRY), (0, Verdict.RETRY), (999, Verdict.RETRY), (101, Verdict.RETRY),
    ],
)  # fmt: skip
def test_http_status_outside_the_table(status: int, verdict: Verdict) -> None:
    """A status that has no row of its own is judged by its class; a redirect is dead."""
    assert http_rule(status).verdict is verdict


@pytest.mark.parametrize(
    "status", sorted({*DIMSE_STATUSES, *(c for codes in DIMSE_EXPECTED.values() for c in codes)})
)
def test_every_dimse_row(status: int) -> None:
    """Each C-STORE status is judged as PS3.4 B.2.3 and PS3.7 annex C mean it."""
    expected = next(verdict for verdict, codes in DIMSE_EXPECTED.items() if status in codes)
    assert dimse_rule(status).verdict is expected


def test_dimse_ranges_do_not_overlap_single_rows() -> None:
    """No status stands in two places of the tables."""
    assert not [s for s in DIMSE_STATUSES for codes, _ in DIMSE_RANGES if s in codes]


@pytest.mark.parametrize("where", sorted(REJECTIONS))
def test_every_rejection(where: tuple[int, int]) -> None:
    """What a peer calls transient is tried again; a name it does not know is for a person."""
    expected = next(kind for kind, rows in REJECTIONS_EXPECTED.items() if where in rows)
    names = {"theirs": "PACS at 10.0.0.7:104", "ours": "OURS"}
    permanent = rejected(PERMANENT, *where, **names)
    assert isinstance(permanent, expected)
    assert isinstance(rejected(TRANSIENT, *where, **names), Retry)
    assert permanent.status == f"A-ASSOCIATE-RJ 1/{where[0]}/{where[1]}"


def test_unknown_rejection_is_tried_again() -> None:
    """A reason that PS3.8 does not name is no reason to give up at once."""
    assert isinstance(rejected(PERMANENT, 9, 9, theirs="PACS", ours="OURS"), Retry)


def test_a_rejection_names_both_titles_and_the_address() -> None:
    """Whoever has to correct one sees which; what needs a restart is said."""
    detail = rejected(PERMANENT, 1, 7, theirs="PACS at 10.0.0.7:104", ours="OURS").detail
    assert detail == (
        "PACS at 10.0.0.7:104 rejects the association of OURS: the PACS does not know the called "
        "AE title; correct called_ae_title, restart, then replay"
    )
    assert cause_of(detail) == detail.partition(";")[0]


def test_what_is_corrected_in_the_configuration_needs_a_restart() -> None:
    """A running service does not read its files again, so each such remedy says it."""
    settings = ("base_url", "auth", "max_instances", "ae_title")
    rules = [*HTTP_STATUSES.values(), *REJECTIONS.values(), http_rule(301)]
    named = [rule.remedy for rule in rules if any(name in rule.remedy for name in settings)]
    assert len(named) >= 9
    assert [remedy for remedy in named if "restart" not in remedy] == []


def test_every_dead_row_has_a_remedy() -> None:
    """Whoever reads a dead letter is told what to do next."""
    rules = [*HTTP_STATUSES.values(), *DIMSE_STATUSES.values(), *REJECTIONS.values()]
    rules += [rule for _, rule in DIMSE_RANGES]
    assert all(rule.remedy for rule in rules if rule.verdict is Verdict.DEAD)


def test_failed_keeps_the_servers_words_and_wish() -> None:
    """An outcome has the status, the server's words and how long it wants us to wait."""
    outcome = failed(429, "too busy", 17.0)
    assert isinstance(outcome, Retry)
    assert (outcome.status, outcome.retry_after) == ("429", 17.0)
    assert "too busy" in outcome.detail
    assert isinstance(failed(422, "no such code"), Dead)
    assert isinstance(failed(401), Dead)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0), (" 0 ", 0.0), ("Fri, 01 Mar 2024 12:00:30 GMT", 30.0),
        ("Fri, 01 Mar 2024 11:00:00 GMT", 0.0), ("Fri, 01 Mar 2024 12:00:30 -0000", 30.0),
        ("soon", None), ("-5", None), ("1e9", None), ("", None), ("٣", None), ("9" * 30, None),
    ],
)  # fmt: skip
def test_retry_after(value: str, seconds: float | None) -> None:
    """Retry-After is read as seconds or as an HTTP date; anything else says nothing."""
    assert retry_after_seconds(value, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "asked", "pauses", "silent"),
    [(429, 9.0, True, False), (429, None, True, False), (503, 9.0, True, True),
     (503, None, False, True), (500, 9.0, False, False), (425, 9.0, False, False)],
)  # fmt: skip
def test_which_answers_are_for_all_studies(
    status: int, asked: float | None, pauses: bool, silent: bool
) -> None:
    """429, and 503 that says for how long, are about the server as a whole, not about one study."""
    outcome = failed(status, "", asked)
    assert isinstance(outcome, Retry)
    assert (outcome.pauses, outcome.silent) == (pauses, silent)


EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7", "x-ratelimit-reset": "90"}, 7.0),
        ({"retry-after": "soon", "x-ratelimit-reset": "90"}, 90.0),
        ({"x-ratelimit-reset": str(EPOCH + 40)}, 40.0),
        ({"x-rate-limit-reset": str((EPOCH + 40) * 1_000)}, 40.0),
        ({"ratelimit-reset": "12.5"}, 12.5), ({"ratelimit-reset": str(EPOCH - 40)}, 0.0),
        ({"ratelimit": '"requests";r=9;t=5, "points";r=0;t=30'}, 30.0),
        ({"ratelimit": "limit=100, remaining=0, reset=50"}, 50.0),
        ({"x-ratelimit-reset": "never"}, None), ({"ratelimit": "limit=100"}, None), ({}, None),
    ],
)  # fmt: skip
def test_the_reset_of_a_rate_limit(headers: dict[str, str], seconds: float | None) -> None:
    """Without Retry-After a rate limit says when it begins anew: in seconds, or since 1970."""
    assert wait_asked_for(429, headers, NOW) == seconds
    assert wait_asked_for(503, headers, NOW) == (7.0 if seconds == 7.0 else None)


def test_sentence_has_words_and_remedy_where_there_are_any() -> None:
    """A message is what happened, what was said and what to do."""
    assert sentence("a", "b", "c") == "a (b); c"
    assert sentence("a") == "a"
