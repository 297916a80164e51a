"""Asking before something goes for good."""

from __future__ import annotations

import io

import click
import pytest

from intu_fhir.cli.confirm import confirm


def _answer(monkeypatch: pytest.MonkeyPatch, words: str, *, by_terminal: bool = False) -> None:
    stdin = io.StringIO(words)
    monkeypatch.setattr(stdin, "isatty", lambda: by_terminal)
    monkeypatch.setattr("sys.stdin", stdin)


def test_where_nobody_can_answer_it_is_said_how_to_do_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job without a terminal is told of --yes, and not only that it was stopped."""
    _answer(monkeypatch, "")
    with pytest.raises(click.UsageError, match="say --yes"):
        confirm("Remove it?")


@pytest.mark.parametrize("by_terminal", [True, False])
def test_a_no_stops(monkeypatch: pytest.MonkeyPatch, by_terminal: bool) -> None:
    """Whoever says no, at a terminal or by a pipe, stops the command."""
    _answer(monkeypatch, "n\n", by_terminal=by_terminal)
    with pytest.raises(click.Abort):
        confirm("Remove it?")


def test_the_end_of_input_at_a_terminal_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-D is an answer, of somebody who is there."""
    _answer(monkeypatch, "", by_terminal=True)
    with pytest.raises(click.Abort):
        confirm("Remove it?")


def test_a_yes_by_a_pipe_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """`yes | intu-fhir prune` is an answer, too."""
    _answer(monkeypatch, "y\n")
    confirm("Remove it?")
