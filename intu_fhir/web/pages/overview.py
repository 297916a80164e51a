"""The first page: the five steps, the last day, and what is stuck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.db.activity import Activity, Latency, activity
from intu_fhir.db.overview import Overview, overview
from intu_fhir.model.work import AGGREGATE, BUILD, DEAD, DELIVER, DELIVERED, HELD, RETRYING, RUNNING
from intu_fhir.settings.schema import FhirDestination
from intu_fhir.web.access.roles import Role
from intu_fhir.web.advice import advice_of
from intu_fhir.web.charts import Chart, Series, bars, day_until, percentile
from intu_fhir.web.context import Site
from intu_fhir.web.rendering import page, site_of
from intu_fhir.web.routes import get
from intu_fhir.web.scales import COUNTS, LENGTHS

_FRESH_SECONDS, _CHART_SECONDS = 2.0, 30.0
_TEN_MINUTES, _HOUR = 600, 3_600
_COLOURS = 6


@dataclass(frozen=True, slots=True)
class Step:
    """One box of the pipeline.

    Args:
        state: the worst that is in it: ``dead``, ``retrying``, ``held``, ``running``, ``waiting``
            or ``done``.
        wrong: the part without which it does nothing.
        in_hand: what is in it now, said by ``what``.
        rate: done in the last hour.
        held: what it found that waits for a decision.
    """

    name: str
    does: str
    path: str
    state: str
    in_hand: int
    what: str
    rate: int
    rated: str
    failing: int
    dead: int
    oldest: datetime | None
    wrong: str = ""
    held: int = 0


def show(request: Request) -> Response:
    """Show the page."""
    site = site_of(request)
    seen = site.cached.get("overview", _FRESH_SECONDS, lambda: _seen(site))
    parts = site.cached.get("ready", _FRESH_SECONDS, site.ready)
    return page(
        request,
        "overview.html",
        title="Overview",
        steps=steps(seen, parts),
        stuck=advice_of(site, seen, parts),
        seen=seen,
        charts=site.cached.get("charts", _CHART_SECONDS, lambda: _charts(site)),
        channels=site.configuration.enabled_channels(),
    )


def _seen(site: Site) -> Overview:
    with site.database.snapshot() as connection:
        return overview(connection, site.clock.now())


def steps(seen: Overview, parts: Mapping[str, str] | None = None) -> list[Step]:
    """Return the boxes of the pipeline.

    Args:
        parts: what has to be there, each with what is wrong with it.
    """
    wrong = {name for name, what in (parts or {}).items() if what}
    receiving = Step(
        name="Receive",
        does="DICOM arrives",
        path="/studies?state=receiving",
        state="dead" if wrong & _RECEIVES else "running" if seen.associations_open else "done",
        in_hand=seen.associations_open,
        what="associations open",
        rate=seen.rates["associations"],
        rated="begun in the last hour",
        failing=0,
        dead=0,
        oldest=seen.associations_since,
        wrong=_takes_nothing(wrong & _RECEIVES),
    )
    staging = Step(
        name="Stage",
        does="durable, headers read",
        path="/studies",
        state="dead" if wrong & _KEEPS else "running" if seen.undescribed else "done",
        in_hand=seen.undescribed,
        what="headers to read",
        rate=seen.rates["instances"],
        rated="instances in the last hour",
        failing=0,
        dead=0,
        oldest=seen.undescribed_since,
        wrong=_takes_nothing(wrong & _KEEPS),
    )
    return [
        receiving,
        staging,
        _queued(seen, AGGREGATE, "Aggregate", "images become studies", "receiving", "settled"),
        _queued(seen, BUILD, "Build", "the study becomes FHIR", "building", "built"),
        _queued(seen, DELIVER, "Deliver", "sent and confirmed", "delivering", "delivered"),
    ]


_KEEPS = frozenset({"database", "files"})
_RECEIVES = _KEEPS | {"receiver"}


def _takes_nothing(wrong: Set[str]) -> str:
    """Say that nothing is taken in, and for what."""
    return f"takes nothing in: {', '.join(sorted(wrong))}" if wrong else ""


def _queued(seen: Overview, step: str, name: str, does: str, state: str, rated: str) -> Step:
    rows = [row for row in seen.queue if row.step == step and row.state != HELD]
    by_state = {s: sum(r.count for r in rows if r.state == s) for s in (DEAD, RETRYING, RUNNING)}
    live = [row for row in rows if row.state != DEAD]
    by_state[HELD] = seen.held_in.get(step, 0)
    worst = next((s for s in (DEAD, RETRYING, HELD, RUNNING) if by_state[s]), "")
    in_hand = sum(row.count for row in live)
    return Step(
        name=name,
        does=does,
        path=f"/studies?state={state}",
        state=worst or ("waiting" if in_hand else "done"),
        in_hand=in_hand,
        what="waiting or in work",
        rate=seen.rates[DELIVERED if step == DELIVER else step],
        rated=f"{rated} in the last hour",
        failing=by_state[RETRYING],
        dead=by_state[DEAD],
        oldest=min((row.oldest for row in live if row.oldest), default=None),
        held=by_state[HELD],
    )


def _charts(site: Site) -> list[Chart]:
    now = site.clock.now()
    ehrs = [name for name, one in site.configuration.site.destinations.items() if _is_fhir(one)]
    fine, coarse = day_until(now, _TEN_MINUTES), day_until(now, _HOUR)
    since = datetime.fromtimestamp(min(fine.start, coarse.start), now.tzinfo)
    until = datetime.fromtimestamp(max(fine.end, coarse.end), now.tzinfo)
    with site.database.snapshot() as connection:
        day = activity(
            connection, since, until, seconds=_TEN_MINUTES, failure_seconds=_HOUR, ehrs=ehrs
        )
    instances = Series("instances", _floats(day.instances))
    studies = Series("studies", _floats(day.studies))
    late, failed = _percentiles(day.latencies), failed_tries(day)
    return [
        bars("Instances received", "in 10 minutes", fine, [instances], COUNTS),
        bars("Studies settled", "in 10 minutes", fine, [studies], COUNTS),
        bars("Last image to EHR", "by hour", coarse, late, LENGTHS, over=True),
        bars("Failed tries", "by hour and destination", coarse, failed, COUNTS, named=True),
    ]


def _is_fhir(destination: object) -> bool:
    return isinstance(destination, FhirDestination)


def _percentiles(latencies: Sequence[Latency]) -> list[Series]:
    by_hour: dict[int, list[float]] = {}
    for one in latencies:
        hour = int(one.delivered_at.timestamp()) // _HOUR * _HOUR
        by_hour.setdefault(hour, []).append(one.seconds)
    ordered = {hour: sorted(values) for hour, values in by_hour.items()}
    return [
        Series("half within", {hour: percentile(v, 0.5) for hour, v in ordered.items()}),
        Series("95 % within", {hour: percentile(v, 0.95) for hour, v in ordered.items()}),
    ]


def failed_tries(day: Activity) -> list[Series]:
    """Return those with most failures by name, and all others as one: there are six colours."""
    worst = sorted(day.failures, key=lambda name: (-sum(day.failures[name].values()), name))
    shown = worst if len(worst) <= _COLOURS else worst[: _COLOURS - 1]
    found = [Series(name, _floats(day.failures[name])) for name in sorted(shown)]
    rest = Counter[int]()
    for name in worst[len(shown) :]:
        rest.update(day.failures[name])
    return [*found, Series(f"{len(worst) - len(shown)} others", _floats(rest))] if rest else found


def _floats(counts: Mapping[int, int]) -> Mapping[int, float]:
    return {at: float(number) for at, number in counts.items()}


ROUTES = (get("/", Role.VIEWER, show),)
