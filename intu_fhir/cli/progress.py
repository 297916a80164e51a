"""How far a long command is, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import Progress

from intu_fhir.cli.program import console


class OnProgress(Protocol):
    """Told how many more were done, and how many there are in all where that is known."""

    def __call__(self, number: int, total: int | None = None, /) -> None:
        """Take note of it."""
        ...


@contextmanager
def progress(what: str) -> Iterator[OnProgress]:
    """Show a bar on standard error, where that is a terminal, as long as the context lasts."""
    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def on_progress(number: int, total: int | None = None, /) -> None:
            bar.update(task, advance=number)
            if total is not None:
                bar.update(task, total=total)

        yield on_progress
