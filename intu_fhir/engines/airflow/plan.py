"""Which DAGs a site has, as values; ``dags`` makes them of it.

Each destination has a DAG of its own: runs of a DAG are limited in number, so in one DAG for all a
destination that takes long over a study would keep the others from being started again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from intu_fhir.engines.engine import Share
from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.schema import Site

PREPARE, DELIVER = "prepare", "deliver"

OVERLAP_SECONDS = 2.0
"""How long a drain works beyond the start of the next: Airflow needs about as long to start one."""

SPARE_RUNS = 3
"""Runs of a DAG beside those that finish what they have in hand: the one that works, the one that
takes over, and one whose worker died, which Airflow notices only after minutes."""


@dataclass(frozen=True, slots=True)
class AirflowOptions:
    """What a site may choose.

    Args:
        name: how the DAGs are called; each site in one Airflow needs a name of its own.
        every_seconds: how often drains are started; each works for that long and a little more.
        finish_seconds: longest time for what a drain has in hand at its end.
        slots: number of tasks of a run by destination, where one process is not enough.
        pools: Airflow pool by destination; absent = the default pool.
    """

    name: str = "intu_fhir"
    every_seconds: float = 30.0
    finish_seconds: float = 3_600.0
    slots: Mapping[str, int] = field(default_factory=dict)
    pools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drain:
    """A DAG whose tasks work on their share for some seconds, started again and again.

    Args:
        kind: ``prepare`` for all that comes before delivery, or ``deliver``.
        destination: whom it delivers to, if it does.
        seconds: how long a task takes new work.
        slots: tasks of each run.
        max_active_runs: how many of its runs there may be at the same time.
    """

    dag_id: str
    kind: str
    destination: str
    every_seconds: float
    seconds: float
    slots: int
    max_active_runs: int
    pool: str | None = None

    def task_ids(self) -> list[str]:
        """Return the names of its tasks."""
        return [f"{self.kind}_{number}" for number in range(1, self.slots + 1)]


def share_of(kind: str, destination: str) -> Share:
    """Return what a process of this kind works on."""
    named = frozenset({destination}) if kind == DELIVER else frozenset[str]()
    return Share(prepare=kind == PREPARE, prune=False, destinations=named)


def drains(site: Site, options: AirflowOptions) -> Iterator[Drain]:
    """Give the drains of a site; together they settle, build and deliver all.

    What options say of a destination that is gone is left aside: the others must go on.
    """
    yield _drain(options, PREPARE, "", 0)
    for name, destination in site.destinations.items():
        yield _drain(options, DELIVER, name, destination.limit)


def _drain(options: AirflowOptions, kind: str, destination: str, in_hand: int) -> Drain:
    """Return a drain that goes on whatever its runs have in hand.

    At most ``in_hand`` studies are on their way to the destination, so no more runs than that can
    be waiting for one to end; the spare ones go on.
    """
    return Drain(
        dag_id="_".join(filter(None, (options.name, kind, destination))),
        kind=kind,
        destination=destination,
        every_seconds=options.every_seconds,
        seconds=options.every_seconds + OVERLAP_SECONDS,
        slots=options.slots.get(destination, 1) if destination else 1,
        max_active_runs=in_hand + SPARE_RUNS,
        pool=options.pools.get(destination),
    )


def pools_of(site: Site, name: str) -> dict[str, str]:
    """Return a pool for each destination."""
    return {destination: f"{name}_{destination}" for destination in site.destinations}


def pool_sizes(site: Site, options: AirflowOptions) -> dict[str, int]:
    """Return how many tasks have room in each pool: all that may run, so it holds nothing back."""
    return {one.pool: one.slots * one.max_active_runs for one in drains(site, options) if one.pool}


def require_known(site: Site, options: AirflowOptions) -> None:
    """Refuse options of a destination that the site does not have.

    Raises:
        ConfigurationError: it names them.
    """
    unknown = sorted({*options.slots, *options.pools} - set(site.destinations))
    if unknown:
        raise ConfigurationError(f"{', '.join(unknown)} is no destination of this site")
