"""Asks before something goes for good."""

from __future__ import annotations

import sys

import click


def confirm(question: str) -> None:
    """Go on where a person says yes.

    Raises:
        click.Abort: they say no.
        click.UsageError: nobody is there to be asked; says how to do without.
    """
    try:
        agreed = click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)  # the question stands there without an end of its line
        raise click.UsageError("nobody is at a terminal to answer; say --yes to go on") from None
    if not agreed:
        raise click.Abort
