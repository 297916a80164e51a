"""What somebody asks for on Airflow's page, as a selection of what to replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from intu_fhir.db.replay import ReplayFilter
from intu_fhir.errors import ConfigurationError
from intu_fhir.model.work import DEAD, DELIVERED, RETRYING
from intu_fhir.pipeline.replay import ReplaySelection

STATES = (DEAD, RETRYING, DELIVERED)
_LONGEST_NAME, _LONGEST_REASON = 64, 500


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, for the audit trail.

    Args:
        user: the person by whom Airflow says the run was triggered, if it was one.
        run: the run of the DAG.
    """

    user: str
    run: str

    @property
    def by(self) -> str:
        """Who is recorded; a run that nobody triggered is Airflow's own."""
        return (self.user or "airflow")[:_LONGEST_NAME]

    def reason(self, given: str = "") -> str:
        """Return why, and by which run of Airflow it can be found there."""
        return f"{given} (Airflow run {self.run})".strip()[:_LONGEST_REASON]


def asked_replay(conf: Mapping[str, Any], asker: Asker) -> ReplaySelection:
    """Return what the parameters of a run select, as ``intu-fhir replay`` has them.

    Raises:
        ConfigurationError: nothing is selected, two of them do not go together, or a state or time
            is none.
    """
    rebuild, force = bool(conf.get("rebuild")), bool(conf.get("force"))
    wanted = ReplayFilter(
        study_instance_uid=conf.get("study") or None,
        destination=conf.get("destination") or None,
        states=_states(conf.get("states") or ()),
        since=_time(conf.get("since")),
        until=_time(conf.get("until")),
        where=conf.get("where") or None,
        cause=conf.get("cause") or None,
    )
    if wanted == ReplayFilter() and not conf.get("all"):
        raise ConfigurationError("nothing is selected; name something, or set `all`")
    if rebuild and (force or conf.get("per_minute")):
        raise ConfigurationError("`rebuild` sends what changed anyway; leave out force and pace")
    return ReplaySelection(
        replace(wanted, by_reception=rebuild),
        rebuild=rebuild,
        force=force,
        dry_run=bool(conf.get("dry_run")),
        per_minute=conf.get("per_minute") or None,
        by=asker.by,
        reason=asker.reason(str(conf.get("reason") or "")),
    )


def rebuild_of(begin: datetime, end: datetime, asker: Asker) -> ReplaySelection:
    """Return the selection of all studies whose last image came in ``begin`` to ``end``."""
    wanted = ReplayFilter(since=begin, until=end, by_reception=True)
    return ReplaySelection(wanted, rebuild=True, by=asker.by, reason=asker.reason("backfill"))


def _states(names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the states that are named; one that there is not would select nothing.

    Raises:
        ConfigurationError: it names them.
    """
    if unknown := [str(name) for name in names if name not in STATES]:
        raise ConfigurationError(f"{', '.join(unknown)} is no state; there are {', '.join(STATES)}")
    return tuple(names) or None


def _time(text: str | None) -> datetime | None:
    """Return a time of a parameter; one without a zone is refused, it could mean either day.

    Raises:
        ConfigurationError: it is no time, or names no zone.
    """
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no time such as 2026-11-26T08:00:00Z") from None
    if time.tzinfo is None:
        raise ConfigurationError(f"{text} names no time zone; write {text}Z for UTC")
    return time
