"""The metrics of several processes as one: what the others have counted is added to our own."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

_OURS = "intu_"
_BEGUN = "_created"
_GAUGE = "gauge"


class Counted(NamedTuple):
    """One number of another process, as it travels; ``kind`` is that of its metric."""

    kind: str
    name: str
    labels: dict[str, str]
    value: float

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What names the number."""
        return self.name, tuple(sorted(self.labels.items()))


def counted_here() -> list[Counted]:
    """Return what this process has counted; not when it began, which does not add up."""
    return [
        Counted(family.type, sample.name, sample.labels, sample.value)
        for family in REGISTRY.collect()
        if family.name.startswith(_OURS)
        for sample in family.samples
        if not sample.name.endswith(_BEGUN)
    ]


class OtherProcesses(Collector):
    """Our own metrics with those of the other receiving processes in them.

    What one has counted before it died stays, so that no sum ever falls; what it had open is gone
    with it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._living: dict[int, list[Counted]] = {}
        self._dead: dict[tuple[str, tuple[tuple[str, str], ...]], Counted] = {}

    def hear(self, process: int, numbers: Iterable[Sequence[object]]) -> None:
        """Take what a process has counted since its start."""
        heard = [Counted(*one) for one in numbers]  # type: ignore[arg-type]
        with self._lock:
            self._living[process] = heard

    def ended(self, process: int) -> None:
        """Keep what a process had counted that is no more."""
        with self._lock:
            for one in self._living.pop(process, []):
                if one.kind != _GAUGE:
                    _add(self._dead, one)

    def registry(self) -> CollectorRegistry:
        """Return what the text format is made of."""
        found = CollectorRegistry()
        found.register(self)
        return found

    def collect(self) -> Iterator[Metric]:
        """Give every metric of this process with the numbers of the others added."""
        others = self._sums()
        for family in REGISTRY.collect():
            if family.name.startswith(_OURS):
                family.samples = _added(family, others)
            yield family

    def _sums(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], Counted]:
        with self._lock:
            sums = dict(self._dead)
            for numbers in self._living.values():
                for one in numbers:
                    _add(sums, one)
        return sums


def _add(sums: dict[tuple[str, tuple[tuple[str, str], ...]], Counted], one: Counted) -> None:
    there = sums.get(one.key)
    sums[one.key] = one._replace(value=one.value + there.value) if there else one


def _added(
    family: Metric, others: dict[tuple[str, tuple[tuple[str, str], ...]], Counted]
) -> list[Sample]:
    """Return the numbers of a metric; those that only others have come last, in their order."""
    found = []
    for sample in family.samples:
        more = others.pop((sample.name, tuple(sorted(sample.labels.items()))), None)
        found.append(sample._replace(value=sample.value + more.value) if more else sample)
    names = {family.name + ending for ending in ("", "_total", "_bucket", "_sum", "_count")}
    alone = [one for one in others.values() if one.name in names]
    return [*found, *(Sample(one.name, one.labels, one.value) for one in alone)]
