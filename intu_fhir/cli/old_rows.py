"""What the commands have in common that remove old rows: ask, show, remove, tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import click

from intu_fhir.cli.amount import DAYS, Amount
from intu_fhir.cli.confirm import confirm
from intu_fhir.cli.program import Program, print_json, say
from intu_fhir.cli.progress import progress
from intu_fhir.cli.table import Column
from intu_fhir.cli.text import local_minute, zone_name
from intu_fhir.cli.would_go import show_what_would_go
from intu_fhir.db.audit import seal
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.session import Database
from intu_fhir.db.spans import Kind, OldRows
from intu_fhir.model.audit import Actor
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.logging import configure_logging
from intu_fhir.observe.login import login
from intu_fhir.upkeep.old_rows import Removal, before_of

_Old = TypeVar("_Old")
_NOTHING = "No range is old enough: it goes when all of it is, and the newest one stays."


class Removing(Protocol[_Old]):
    """What removes old rows."""

    def find(self, before: datetime) -> Iterator[_Old]:
        """Give what is old."""

    def remove(self, found: Sequence[_Old], before: datetime) -> Iterator[int]:
        """Remove it; give how many rows went each time."""


@dataclass(frozen=True)
class Words(Generic[_Old]):
    """What a command calls what it removes.

    Args:
        rows: a word for the rows, and the key of their number in JSON.
        what: the same in full.
        setting: the key that says how old, where ``--older-than`` does not.
        goes: how many rows would go with one find; 0 where something keeps it.
        show: the finds as rows of a table, and its columns.
        nothing: what to say where nothing is old enough.
    """

    rows: str
    what: str
    setting: str
    goes: Callable[[_Old], int]
    show: Callable[[list[_Old]], tuple[list[Any], Sequence[Column[Any]]]]
    size: Callable[[_Old], int] = lambda _: 0
    nothing: str = ""


def how_old(what: str, setting: str) -> Callable[[Any], Any]:
    """Add the options that say how old, and what to do."""
    options = (
        click.option(
            "--older-than",
            type=Amount(most=DAYS),
            metavar="DAYS",
            help=f"{what} so long ago. Default: retention.{setting}.",
        ),
        click.option("--dry-run", is_flag=True, help="Show what it would be; remove nothing."),
        click.option("--yes", is_flag=True, help="Do not ask."),
    )

    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def remove_old(
    program: Program,
    make: Callable[[Database, SystemClock, Pruner], Removing[_Old]],
    words: Words[_Old],
    *,
    older_than: float | None,
    dry_run: bool,
    yes: bool,
    wants_json: bool,
) -> None:
    """Remove what is old of one kind, or show what that would be."""
    configure_logging(level="WARNING")  # the answer says the same
    days = older_than
    if days is None:
        days = getattr(program.staging().site.retention, words.setting)
    if days is None:
        raise click.UsageError(f"say how old with --older-than, or set retention.{words.setting}")
    clock = SystemClock()
    before = before_of(clock, days)
    with program.database() as database:
        removing = make(database, clock, Pruner(login(), Actor.PERSON))
        found = list(removing.find(before))
        going = [one for one in found if words.goes(one)]
        if not found and words.nothing:
            say(words.nothing, stderr=True)
        if dry_run:
            shown, columns = words.show(found)
            show_what_would_go(shown, columns, _counted(going, words), wants_json=wants_json)
            return
        if going and not yes:
            confirm(f"Remove {_counted(going, words)}?")
        try:
            removed = _remove(removing.remove(going, before), len(going), words)
        finally:
            seal(database)
    _tell(removed, len(found) - len(going), words, wants_json)


def _remove(steps: Iterator[int], number: int, words: Words[Any]) -> int:
    """Return how many rows went.

    Raises:
        StoreUnavailable: somebody is in the way for longer; what went before is gone.
    """
    removed = 0
    with progress(f"Removing {words.rows}") as on_progress:
        on_progress(0, number)
        for gone in steps:
            removed += gone
            on_progress(1)
    return removed


def _tell(removed: int, kept: int, words: Words[Any], wants_json: bool) -> None:
    if wants_json:
        print_json({words.rows: removed, "ranges_kept": kept})
        return
    say(f"{removed} {words.what} removed")
    if kept:
        say(f"{kept} ranges are kept; --dry-run names by what", stderr=True)


def _counted(going: list[_Old], words: Words[_Old]) -> str:
    size = sum(words.size(one) for one in going)
    parts = f" ({size / 1024**3:.1f} GiB)" if size else ""
    return f"{sum(words.goes(one) for one in going)} {words.what}{parts}"


def of_spans(kind: Kind, rows: str, what: str, setting: str) -> tuple[Any, Words[OldRows]]:
    """Return how a table is emptied by spans, and its words."""

    def make(database: Database, clock: SystemClock, by: Pruner) -> Removal:
        return Removal(database, clock, by, kind)

    def show(found: list[OldRows]) -> tuple[list[Any], Sequence[Column[Any]]]:
        return [_named(one, rows) for one in found], _columns(rows)

    def goes(one: OldRows) -> int:
        return 0 if one.kept_by else one.rows

    return make, Words(rows, what, setting, goes, show, lambda one: one.bytes or 0, _NOTHING)


def _named(one: OldRows, rows: str) -> dict[str, Any]:
    """Return what was found, with the word for its rows."""
    return {rows if key == "rows" else key: value for key, value in asdict(one).items()}


def _columns(rows: str) -> list[Column[dict[str, Any]]]:
    return [
        Column(f"NEWEST ({zone_name()})", lambda row: local_minute(row["newest_at"])),
        Column("FROM KEY", lambda row: row["span"]["first"], right=True),
        Column("TO KEY", lambda row: row["span"]["end"] - 1, right=True),
        Column(rows.upper(), lambda row: row[rows], right=True),
        Column(
            "MIB", lambda row: f"{row['bytes'] / 1024**2:.1f}" if row["bytes"] else "", right=True
        ),
        Column("KEPT BY", lambda row: row["kept_by"][0] if row["kept_by"] else ""),
    ]
