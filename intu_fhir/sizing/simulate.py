"""Sends the studies of some hours through a site that is only figures, and says what was short."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from intu_fhir.errors import ConfigurationError
from intu_fhir.sizing.figures import FarSide, Figures, Load, Receivers
from intu_fhir.sizing.station import Closed, Served, serve

FULL = 0.8
"""Above this share of its capacity a place makes studies wait for long whenever more come."""
MOST_STUDIES = 2_000_000
_MOST_TIMES = 50.0
"""A study has at most so many times the images of the middle one."""


@dataclass(frozen=True, slots=True)
class Place:
    """What was seen at one place of the way.

    Args:
        busy: share of its capacity that was used while studies came; above 1 it falls behind.
        waits: seconds that studies waited there: the middle, 95 % and 99 % of them, the longest.
        longest_queue: most studies that waited there at the same time.
    """

    name: str
    busy: float
    waits: tuple[float, float, float, float]
    longest_queue: int


@dataclass(frozen=True, slots=True)
class Way:
    """How long it took from a study's last image to one destination, in seconds.

    Args:
        behind: minutes after the last study had come until the last one was there.
    """

    destination: str
    middle: float
    most: float
    nearly_all: float
    longest: float
    behind: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a simulation found."""

    studies: int
    images: int
    places: list[Place]
    ways: list[Way]
    files_bytes: float
    staging_bytes_a_year: float
    images_a_year: float


@dataclass(frozen=True, slots=True)
class _Study:
    begins: float
    images: int


def simulate(figures: Figures) -> Result:
    """Simulate the busiest time of a site.

    Raises:
        ConfigurationError: there are too many studies, or destinations wait for each other.
    """
    load, receivers, workers = figures.load, figures.receivers, figures.workers
    studies = _arrivals(figures)
    images = [study.images for study in studies]
    capacity = _images_per_second(receivers)
    associations = max(1, int(capacity / load.images_per_second))
    rate = min(load.images_per_second, capacity)
    received = serve(
        [study.begins for study in studies],
        [count / rate for count in images],
        receivers.machines * associations,
    )
    built = serve(
        [done + figures.quiet_seconds for done in received.done],
        [workers.seconds_per_study + count * _seconds_per_image(figures) for count in images],
        workers.machines * workers.cores,
    )
    delivered = _deliver(figures.destinations, built.done, images)
    seconds = figures.minutes * 60
    sizes = {"receivers": receivers.machines * associations}
    sizes["workers"] = workers.machines * workers.cores
    sizes |= {name: one.at_once for name, one in figures.destinations.items()}
    served = {"receivers": received, "workers": built, **delivered}
    places = [_place(name, one, sizes[name], seconds) for name, one in served.items()]
    ways = [_way(name, one.done, received.done) for name, one in delivered.items()]
    return _result(figures, images, places, ways)


def advice(result: Result) -> list[str]:
    """Say what to do, the worst place first."""
    said = []
    for place in sorted(result.places, key=lambda one: -one.busy):
        if place.busy > 1:
            said.append(f"{place.name}: falls behind; it needs {place.busy:.1f} times as much")
        elif place.busy > FULL:
            said.append(f"{place.name}: {place.busy:.0%} busy, with no reserve for a busy hour")
    return said


def _arrivals(figures: Figures) -> list[_Study]:
    """Make studies that come by chance, as people do (a Poisson process)."""
    load, chance = figures.load, random.Random(figures.seed)  # noqa: S311  (no secret)
    if load.studies_per_minute * figures.minutes > MOST_STUDIES:
        raise ConfigurationError(
            f"more than {MOST_STUDIES} studies; simulate fewer minutes", key="minutes"
        )
    studies, now = [], 0.0
    while (now := now + chance.expovariate(load.studies_per_minute / 60)) < figures.minutes * 60:
        studies.append(_Study(now, _images(load, chance)))
    return studies or [_Study(0.0, load.images_per_study)]


def _images_per_second(receivers: Receivers) -> float:
    """Return what one machine takes while it uploads what it took before."""
    upload = receivers.upload_seconds_per_image if receivers.object_store else 0.0
    return 1 / (1 / receivers.images_per_second + upload)


def _seconds_per_image(figures: Figures) -> float:
    """Return a worker's time for an image: described, built, and sent to each PACS."""
    workers = figures.workers
    archives = sum(one.seconds_per_image > 0 for one in figures.destinations.values())
    sent = archives * workers.send_seconds_per_image
    return workers.describe_seconds_per_image + workers.seconds_per_image + sent


def _images(load: Load, chance: random.Random) -> int:
    times = min(math.exp(chance.gauss(0, load.spread)), _MOST_TIMES)
    return max(1, round(load.images_per_study * times))


def _deliver(
    destinations: Mapping[str, FarSide], built: Sequence[float], images: Sequence[int]
) -> dict[str, Served]:
    """Serve at each destination, those that wait for another one after it."""
    delivered: dict[str, Served] = {}
    waiting = dict(destinations)
    while waiting:
        now = [n for n, one in waiting.items() if one.after is None or one.after in delivered]
        if not now:
            raise ConfigurationError(
                "wait for each other, or for one that is not there; correct after",
                key=f"destinations: {', '.join(waiting)}",
            )
        for name in now:
            one = waiting.pop(name)
            ready = delivered[one.after].done if one.after else built
            needs = [one.seconds_per_study + count * one.seconds_per_image for count in images]
            delivered[name] = serve(ready, needs, one.at_once, _closed(one))
    return delivered


def _closed(one: FarSide) -> Closed | None:
    return Closed(one.outage.begin * 60, one.outage.end * 60) if one.outage else None


def _place(name: str, served: Served, places: int, seconds: float) -> Place:
    return Place(
        name, served.busy / (places * seconds), _spread(served.waited), served.longest_queue
    )


def _way(name: str, done: Sequence[float], received: Sequence[float]) -> Way:
    took = [there - last for there, last in zip(done, received, strict=True)]
    return Way(name, *_spread(took), behind=(max(done) - max(received)) / 60)


def _spread(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Return the middle, 95 % and 99 % of values, and the largest."""
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]

    return at(0.5), at(0.95), at(0.99), ordered[-1]


def _result(
    figures: Figures, images: Sequence[int], places: list[Place], ways: list[Way]
) -> Result:
    load, stored = figures.load, figures.stored
    a_day = sum(images) / figures.minutes * 60 * load.hours_per_day
    return Result(
        studies=len(images),
        images=sum(images),
        places=places,
        ways=ways,
        files_bytes=a_day * stored.files_days * load.kilobytes_per_image * 1_000,
        staging_bytes_a_year=a_day * 365 * stored.staging_bytes_per_image,
        images_a_year=a_day * 365,
    )
