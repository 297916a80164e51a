"""``docs/reference/outcomes.md``: what a far side's answer means, from the delivery's tables."""

from __future__ import annotations

from collections.abc import Iterable

from intu_fhir.deliver.commitment_scu import ACTION_STATUSES
from intu_fhir.deliver.outcomes import (
    DIMSE_RANGES,
    DIMSE_STATUSES,
    HTTP_STATUSES,
    REJECTIONS,
    Rule,
    dimse_rule,
    http_rule,
)
from tools.docs.markdown import page, table

_INTRODUCTION = """\
What follows when a destination answers, or does not. `retry` is tried again with increasing waits
until the attempts are used up; a `dead letter` waits for `intu-fhir replay`. No answer, an answer
cut short and a time-out are tried again like `retry`."""


def outcomes_page() -> str:
    """Return the page."""
    http = [(str(status), rule) for status, rule in HTTP_STATUSES.items()]
    http += [(f"other {n}xx", http_rule(n * 100 + 99)) for n in (2, 3, 4, 5)]
    dimse = [(f"{status:04X}", rule) for status, rule in DIMSE_STATUSES.items()]
    dimse += [(f"{codes[0]:04X}-{codes[-1]:04X}", rule) for codes, rule in DIMSE_RANGES]
    dimse.append(("any other", dimse_rule(0xFFFF)))
    rejections = [(f"{source}/{reason}", rule) for (source, reason), rule in REJECTIONS.items()]
    return page(
        "Answers of destinations, and what follows",
        _INTRODUCTION,
        "## FHIR servers (HTTP status)",
        _rules(http),
        "## PACS (C-STORE status, PS3.4 B.2.3 and PS3.7 annex C)",
        _rules(dimse),
        "## PACS (A-ASSOCIATE-RJ by source and reason, PS3.8 table 9-21)",
        _rules(rejections),
        "## PACS (answer to a request for storage commitment, PS3.7 10.1.4.1.10)",
        _rules((f"{status:04X}", rule) for status, rule in ACTION_STATUSES.items()),
    )


def _rules(rows: Iterable[tuple[str, Rule]]) -> str:
    return table(
        ("Answer", "Then", "Meaning", "What to do"),
        ((answer, rule.verdict, rule.meaning, rule.remedy) for answer, rule in rows),
    )
