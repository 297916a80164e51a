"""``intu-fhir check``."""

from __future__ import annotations

import click

from intu_fhir.check import CheckRow, check
from intu_fhir.cli.program import Program, command, console, json_option, print_json, say
from intu_fhir.cli.table import Column, show_table
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.logging import configure_logging

_STYLES = {"ok": "green", "note": "yellow", "WRONG": "bold red"}


def _mark(row: CheckRow) -> str:
    if not row.ok:
        return "WRONG"
    return "note" if row.remedy else "ok"


_COLUMNS: list[Column[CheckRow]] = [
    Column("", _mark, style=lambda text: _STYLES[text]),
    Column("WHAT", lambda row: row.what),
    Column("WHICH", lambda row: row.subject, shrinks=True),
]
_BELOW: list[Column[CheckRow]] = [
    Column("FOUND", lambda row: row.detail),
    Column("DO", lambda row: row.remedy),
]


@command("check", "intu-fhir check", "intu-fhir check --offline --json")
@click.option("--offline", is_flag=True, help="Leave the destinations alone.")
@json_option()
@click.pass_context
def check_command(ctx: click.Context, program: Program, wants_json: bool, offline: bool) -> None:
    """Check configuration, database, file store, ports and destinations.

    A wrong configuration ends with 2 and names file, line and remedy. Then each PACS is asked
    by C-ECHO and each FHIR server for /metadata. Ends with 1 where something is wrong.
    """
    configure_logging(level="ERROR")
    configuration = program.configuration()
    rows = list(check(configuration, SystemClock(), offline=offline))
    wrong = sum(not row.ok for row in rows)
    if wants_json:
        print_json(rows)
    else:
        show_table(console(), rows, _COLUMNS, below=_BELOW)
        say(f"{wrong} of {len(rows)} wrong" if wrong else "All is well.")
    ctx.exit(1 if wrong else 0)
