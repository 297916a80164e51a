"""Charts as SVG that carries no style of its own; words stand around it, so they never shrink."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from intu_fhir.web.scales import Scale
from intu_fhir.web.words import zone_name

WIDTH, HEIGHT = 1_000, 100
"""Units of the drawing; it is stretched to the place it gets."""

_GAP = 0.2
"""Part of an interval that stays free between bars."""

_LABELS = 5


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of number by the start of its interval, in epoch seconds."""

    name: str
    values: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Chart:
    """What a template puts in place.

    Args:
        summary: the chart in a sentence, for who does not see it.
        high: labels of the vertical axis, the highest first.
        along: labels of the time axis.
        legend: names of the series; one alone needs none.
        is_empty: nothing happened.
    """

    title: str
    unit: str
    summary: str
    drawing: Markup
    high: Sequence[str]
    along: Sequence[str]
    legend: Sequence[str]
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of time of a chart, in epoch seconds, in intervals of one length."""

    start: int
    end: int
    interval: int

    def starts(self) -> range:
        """Return the start of every interval."""
        return range(self.start, self.end, self.interval)

    def x(self, time: float) -> float:
        """Return where a time stands."""
        return (time - self.start) / (self.end - self.start) * WIDTH


def day_until(now: datetime, interval: int) -> Span:
    """Return the last day in whole intervals, the running one included."""
    end = (int(now.timestamp()) // interval + 1) * interval
    return Span(end - 86_400, end, interval)


def bars(
    title: str,
    unit: str,
    span: Span,
    series: Sequence[Series],
    scale: Scale,
    *,
    over: bool = False,
    named: bool = False,
) -> Chart:
    """Return bars, the series upon each other.

    Args:
        scale: how its numbers are drawn and said.
        over: draw the series over each other instead, each from the ground, such as percentiles.
        named: name a series that is alone too.
    """
    heights = {at: [one.values.get(at, 0.0) for one in series] for at in span.starts()}
    write = scale.write
    top = scale.top(max((max(h) if over else sum(h) for h in heights.values()), default=0.0))
    drawn = [
        _bar(span, at, index, below, height, top, _hover(at, series[index].name, value, write))
        for at, values in heights.items()
        for index, value, below, height in _stacked(values, over)
        if value > 0
    ]
    is_empty = not drawn
    return Chart(
        title=title,
        unit=unit,
        summary=_summary(title, unit, series, heights, write),
        drawing=Markup("").join([_grid(), *drawn]),
        high=[scale.tick(value, top) for value in (top, top / 2, 0)],
        along=_along(span),
        legend=[one.name for one in series] if named or len(series) > 1 else [],
        is_empty=is_empty,
    )


def _stacked(values: Sequence[float], over: bool) -> list[tuple[int, float, float, float]]:
    """Return index, value, ground and height of each bar of one interval, the highest first."""
    placed, ground = [], 0.0
    for index, value in enumerate(values):
        placed.append((index, value, 0.0 if over else ground, value))
        ground += value
    return sorted(placed, key=lambda one: -one[1]) if over else placed


def _bar(
    span: Span, at: int, index: int, below: float, height: float, top: float, hover: str
) -> Markup:
    width = span.interval / (span.end - span.start) * WIDTH
    x = span.x(at) + width * _GAP / 2
    y = HEIGHT * (1 - (below + height) / top)
    return Markup(
        '<rect class="bar series-{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}">'
        "<title>{}</title></rect>"
    ).format(index + 1, x, y, width * (1 - _GAP), max(HEIGHT * height / top, 0.8), hover)


def _hover(at: int, name: str, value: float, write: Callable[[float], str]) -> str:
    time = datetime.fromtimestamp(at, UTC).astimezone().strftime("%H:%M")
    return f"{time} {name}: {write(value)}"


def _grid() -> Markup:
    lines = (f'<line class="rule" x1="0" x2="{WIDTH}" y1="{y}" y2="{y}"/>' for y in (0, 50, 100))
    return Markup("").join(map(Markup, lines))


def _along(span: Span) -> list[str]:
    step = (span.end - span.start) / (_LABELS - 1)
    times = [span.start + round(step * index) for index in range(_LABELS)]
    labels = [datetime.fromtimestamp(at, UTC).astimezone().strftime("%H:%M") for at in times]
    return [*labels[:-1], f"{labels[-1]} {zone_name()}"]


def _summary(
    title: str,
    unit: str,
    series: Sequence[Series],
    heights: Mapping[int, Sequence[float]],
    write: Callable[[float], str],
) -> str:
    parts = []
    for index, one in enumerate(series):
        highest = max((values[index] for values in heights.values()), default=0.0)
        parts.append(f"{one.name}: at most {write(highest)}")
    return f"{title}, {unit}, last 24 hours. {'; '.join(parts) or 'Nothing'}."


def percentile(ordered: Sequence[float], part: float) -> float:
    """Return the value below which ``part`` of the others lie (nearest rank)."""
    rank = math.ceil(part * len(ordered))
    return ordered[max(0, min(len(ordered), rank) - 1)]
