"""Amounts in options: seconds, days, so many a minute."""

from __future__ import annotations

import math
from typing import Any

import click

_MOST = 1_000_000_000.0
DAYS = 36_500.0
"""A century: what calendars and both databases reach back to."""


class Amount(click.FloatRange):
    """A number with an end; ``nan`` would pass every comparison, ``inf`` is no amount."""

    def __init__(self, least: float = 0, most: float = _MOST, *, above: bool = False) -> None:
        super().__init__(least, most, min_open=above)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number.

        Raises:
            click.BadParameter: it is none, or out of bounds.
        """
        amount: float = super().convert(value, param, ctx)
        if not math.isfinite(amount):
            self.fail(f"{value!r} is no amount", param, ctx)
        return amount
