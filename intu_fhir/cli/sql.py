"""``intu-fhir sql``."""

from __future__ import annotations

import re
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import click

from intu_fhir.cli.amount import Amount
from intu_fhir.cli.auditing import tell_audit
from intu_fhir.cli.export import WRITERS, write_bytes, write_table
from intu_fhir.cli.program import Program, command, console, say
from intu_fhir.db.readonly import RefusedQuery, read_only_query
from intu_fhir.model.audit import Action

_COMMENT = re.compile(r"--(\s|.*\n)")
"""What an option cannot be: its name holds neither blanks nor ends of lines."""

_TABLE_LIMIT, _EXPORT_LIMIT, _MOST_ROWS = 1_000, 1_000_000, 1_000_000_000


class _TakesComments(click.Command):
    """A command whose argument may begin with a comment, which looks like an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments, the comment behind a line's end."""
        return super().parse_args(ctx, [f"\n{a}" if _COMMENT.match(a) else a for a in args])


@command(
    "sql",
    'intu-fhir sql "SELECT modality, count(*) FROM series GROUP BY modality"',
    'intu-fhir sql "SELECT * FROM studies" --format csv > studies.csv',
    "intu-fhir sql - --format parquet --output month.parquet < month.sql",
    kind=_TakesComments,
)
@click.argument("statement")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", *WRITERS]),
    default="table",
    show_default=True,
    help="How to write the rows.",
)
@click.option("--json", "wants_json", is_flag=True, help="The same as --format json.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file.")
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST_ROWS),
    metavar="N",
    help=f"Most rows. Default: {_TABLE_LIMIT} in a table, {_EXPORT_LIMIT} in other formats.",
)
@click.option(
    "--timeout",
    type=Amount(above=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="When the database ends it.",
)
@click.pass_context
def sql_command(
    ctx: click.Context,
    program: Program,
    statement: str,
    kind: str,
    wants_json: bool,
    output: Path | None,
    limit: int | None,
    timeout: float,
) -> None:
    """Ask the staging database, read-only.

    STATEMENT is one SQL statement, or - to read it from standard input. The database itself
    makes sure that nothing can be changed. `intu-fhir sql "SELECT * FROM studies LIMIT 3"`
    shows what there is; the tables are described in docs/reference/schema.md.

    In CSV a text that a spreadsheet would run as a formula gets a ' in front.
    """
    kind = "json" if wants_json else kind
    if kind == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal; add --output FILE")
    limit = limit or (_TABLE_LIMIT if kind == "table" else _EXPORT_LIMIT)
    text = sys.stdin.read() if statement == "-" else statement
    with program.database() as database:
        columns, rows = _ask(database.url, text, limit, timeout)
        action = Action.QUERIED if kind == "table" else Action.EXPORTED
        shown = min(len(rows), limit)
        tell_audit(database, action, objects=shown, reason=f"sql as {kind}")
    more = len(rows) > limit
    _write(columns, rows[:limit], kind, output)
    if more:
        say(f"Only the first {limit} rows; raise --limit to get more.", stderr=True)
        ctx.exit(0 if kind == "table" else 1)


def _ask(
    url: str, statement: str, limit: int, timeout: float
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Return the columns and one row more than the limit, where there are more."""
    try:
        with read_only_query(url, statement, timeout_seconds=timeout) as result:
            return result.columns, list(islice(result.rows, limit + 1))
    except RefusedQuery as error:
        raise click.UsageError(str(error)) from None


def _write(
    columns: tuple[str, ...], rows: list[tuple[Any, ...]], kind: str, output: Path | None
) -> None:
    if kind != "table":
        write_bytes(WRITERS[kind](columns, rows), output)
    elif output is not None:
        with output.open("w", encoding="utf-8") as file:
            write_table(columns, rows, console(file=file))
    else:
        write_table(columns, rows, console())
