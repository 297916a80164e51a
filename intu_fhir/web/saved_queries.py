"""Queries that ship with the page: they run as they stand on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_NIGHT_BEGINS = 18


@dataclass(frozen=True, slots=True)
class SavedQuery:
    """One query; ``{night}``, ``{day}`` and ``{month}`` in it are times when it is opened."""

    title: str
    what: str
    statement: str


SAVED: Mapping[str, SavedQuery] = {
    "turnaround": SavedQuery(
        "Turn-around by day",
        "From the last image to each destination, in seconds",
        """\
SELECT substr(CAST(settled_at AS text), 1, 10) AS day, destination, modalities,
       count(*) AS studies,
       round(avg(seconds_to_settle)) AS to_settle,
       round(avg(seconds_to_build)) AS to_build,
       round(avg(seconds_to_deliver)) AS to_deliver,
       round(avg(seconds_in_all)) AS average,
       round(max(seconds_in_all)) AS longest
FROM v_turnaround
WHERE delivered_at IS NOT NULL AND settled_at >= '{month}'
GROUP BY 1, 2, 3
ORDER BY 1 DESC, 2, 3""",
    ),
    "slowest": SavedQuery(
        "The slowest deliveries",
        "And in which step the time went",
        """\
SELECT study_instance_uid, destination, generation,
       seconds_to_settle, seconds_to_build, seconds_to_deliver, seconds_in_all
FROM v_turnaround
WHERE delivered_at IS NOT NULL
ORDER BY seconds_in_all DESC
LIMIT 50""",
    ),
    "by-day": SavedQuery(
        "Studies by modality and day",
        "What came in the last month",
        """\
SELECT substr(CAST(last_received_at AS text), 1, 10) AS day, modalities,
       count(*) AS studies, sum(number_of_instances) AS images
FROM studies
WHERE last_received_at >= '{month}'
GROUP BY 1, 2
ORDER BY 1 DESC, 3 DESC""",
    ),
    "last-night": SavedQuery(
        "What failed last night",
        "Tries that failed since six in the evening, whether or not a later one went well",
        """\
SELECT destination, status, detail,
       count(*) AS tries, count(DISTINCT study_instance_uid) AS studies,
       min(started_at) AS first_one, max(started_at) AS last_one
FROM v_attempts
WHERE outcome <> 'delivered' AND started_at >= '{night}'
GROUP BY 1, 2, 3
ORDER BY 4 DESC""",
    ),
    "failing-now": SavedQuery(
        "What fails or waits for a person now",
        "The oldest first",
        """\
SELECT since, kind, place, state, study_instance_uid, tries, code, detail, next_try_at
FROM v_failures
ORDER BY since""",
    ),
    "dose": SavedQuery(
        "CT dose by study description",
        "Dose length product of radiation dose reports, where a destination publishes dose",
        """\
SELECT study_description, unit, count(*) AS reports,
       avg(value) AS average, min(value) AS lowest, max(value) AS highest
FROM v_dose
WHERE code = '113813'
GROUP BY study_description, unit
ORDER BY average DESC""",
    ),
    "senders": SavedQuery(
        "Who sends what",
        "By sender in the last day, with what was refused",
        """\
SELECT calling_ae_title, peer_address, count(*) AS associations,
       sum(stored) AS stored, sum(already_stored) AS already_there,
       sum(quarantined) AS quarantined, sum(refused) AS refused,
       max(started_at) AS last_seen
FROM associations
WHERE started_at >= '{day}'
GROUP BY 1, 2
ORDER BY 4 DESC""",
    ),
}


def opened(query: SavedQuery, now: datetime) -> str:
    """Return a saved query with its times filled in, as UTC."""
    local = now.astimezone()
    night = local.replace(hour=_NIGHT_BEGINS, minute=0, second=0, microsecond=0)
    if night > local:
        night -= timedelta(days=1)
    return query.statement.format(
        night=_written(night),
        day=_written(now - timedelta(days=1)),
        month=_written(now - timedelta(days=30)),
    )


def _written(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S+00")
