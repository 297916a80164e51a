"""``intu-fhir quarantine``."""

from __future__ import annotations

import click

from intu_fhir.cli.program import (
    Program,
    command,
    console,
    examples,
    json_option,
    limit_option,
    print_json,
    say,
)
from intu_fhir.cli.table import Column, show_table
from intu_fhir.cli.text import local_time, zone_name
from intu_fhir.db.review import QuarantineRow, list_quarantine


@click.group("quarantine", epilog=examples("intu-fhir quarantine list"))
def quarantine_command() -> None:
    """List objects that were kept but are not published."""


@quarantine_command.add_command
@command("list", "intu-fhir quarantine list --reason different_bytes")
@click.option("--reason", metavar="CODE", help="Of one reason.")
@limit_option()
@json_option()
def list_command(program: Program, wants_json: bool, reason: str | None, limit: int) -> None:
    """List objects whose bytes are kept and not published, the newest first.

    The files stand in the file store under the path shown.
    """
    with program.database() as database, database.read() as connection:
        rows = list_quarantine(connection, reason=reason, limit=limit)
    if wants_json:
        print_json(rows)
    elif rows:
        show_table(console(), rows, _columns(), below=_BELOW)
    else:
        say("Nothing is in quarantine.")


_BELOW: list[Column[QuarantineRow]] = [
    Column("SOP INSTANCE UID", lambda row: row.sop_instance_uid),
    Column("DETAIL", lambda row: row.detail),
    Column("FILE", lambda row: row.file),
]


def _columns() -> list[Column[QuarantineRow]]:
    return [
        Column(f"RECEIVED ({zone_name()})", lambda row: local_time(row.received_at)),
        Column("REASON", lambda row: row.reason),
        Column("FROM", lambda row: row.calling_ae_title or "import"),
    ]
