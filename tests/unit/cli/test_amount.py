"""Amounts that options take."""

from __future__ import annotations

import click
import pytest

from intu_fhir.cli.amount import DAYS, Amount


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e308", "-1", "x", "36501"])
def test_what_is_no_amount_is_wrong_use(text: str) -> None:
    """A number without an end, beyond the bounds or none at all is refused."""
    with pytest.raises(click.BadParameter):
        Amount(most=DAYS).convert(text, None, None)


@pytest.mark.parametrize(("text", "amount"), [("0", 0.0), ("0.5", 0.5), ("36500", DAYS)])
def test_an_amount_is_taken(text: str, amount: float) -> None:
    """Numbers within the bounds are, both bounds among them."""
    assert Amount(most=DAYS).convert(text, None, None) == amount


def test_nothing_is_no_amount_above_it() -> None:
    """Where an amount has to be above the least, that is refused."""
    with pytest.raises(click.BadParameter):
        Amount(above=True).convert("0", None, None)
