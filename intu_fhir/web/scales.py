"""Vertical axes: round numbers at the top and at half the height, in words of one unit."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from intu_fhir.web.words import duration, number


@dataclass(frozen=True, slots=True)
class Scale:
    """How one kind of number is drawn and said.

    Args:
        write: says a value of the chart.
        top: the next number at or above a value that is round, and whose half is.
        tick: says a number of an axis that ends at the second one.
    """

    write: Callable[[float], str]
    top: Callable[[float], float]
    tick: Callable[[float, float], str]


def nice(value: float) -> float:
    """Return the next number of the kind 1, 2, 5, 10, 20 ... at or above ``value``."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.999_999)


def _top_count(value: float) -> float:
    """Return an even number: half a study is none."""
    return 2 * nice(max(1.0, value / 2))


_UNITS = ((1.0, 0.001, "ms"), (120.0, 1.0, "s"), (7_200.0, 60.0, "min"), (172_800.0, 3_600.0, "h"))
_TOPS = (1, 2, 4, 10, 20, 40, 60, *(60 * n for n in (2, 4, 10, 20, 40, 60)))
_LONG_TOPS = tuple(3_600 * n for n in (2, 4, 8, 12, 24, 48))


def _top_length(value: float) -> float:
    """Return a length of time that is round in its unit."""
    tops = (*_TOPS, *_LONG_TOPS)
    if value <= tops[0]:
        return 2 * nice(max(0.001, value / 2))
    if value > tops[-1]:
        return 2 * 86_400 * nice(value / 2 / 86_400)
    return tops[bisect_left(tops, value * 0.999_999)]


def _tick_length(value: float, top: float) -> str:
    """Write a length of time in the unit of the whole axis."""
    if not value:
        return "0"
    for limit, divisor, unit in _UNITS:
        if top < limit:
            return f"{value / divisor:.3g} {unit}"
    return f"{value / 86_400:.3g} d"


def _tick_count(value: float, _top: float) -> str:
    return number(value)


COUNTS = Scale(number, _top_count, _tick_count)
LENGTHS = Scale(duration, _top_length, _tick_length)
