"""``intu-fhir commitments``."""

from __future__ import annotations

import click

from intu_fhir.cli.program import (
    Program,
    command,
    console,
    group,
    json_option,
    limit_option,
    print_json,
    say,
)
from intu_fhir.cli.table import Column, show_table
from intu_fhir.cli.text import local_time, zone_name
from intu_fhir.db.commitments import (
    CommitmentItem,
    CommitmentRow,
    list_commitments,
    list_items,
)
from intu_fhir.model.commitment import ASKED, CHECKED, REPORTED, UNREPORTED


@group("commitments", "intu-fhir commitments list")
def commitments_command() -> None:
    """List requests for storage commitment."""


@commitments_command.add_command
@command("list", "intu-fhir commitments list --state unreported")
@click.option(
    "--state",
    type=click.Choice([ASKED, CHECKED, REPORTED, UNREPORTED]),
    metavar="STATE",
    help="asked, checked, reported or unreported.",
)
@click.option("--requester", metavar="AE_TITLE", help="Of one requester.")
@limit_option()
@json_option()
def list_command(
    program: Program, wants_json: bool, state: str | None, requester: str | None, limit: int
) -> None:
    """List requests for storage commitment, the newest first.

    A result that is checked and not reported waits for its requester: `last error` says why.
    """
    with program.database() as database, database.read() as connection:
        rows = list_commitments(connection, state=state, requester=requester, limit=limit)
    if wants_json:
        print_json(rows)
    elif rows:
        show_table(console(), rows, _columns(), below=_BELOW)
    else:
        say("No storage commitment was asked for.")


@commitments_command.add_command
@command("show", "intu-fhir commitments show 1.2.840.99999.7")
@click.argument("transaction_uid", metavar="TRANSACTION_UID")
@json_option()
def show_command(program: Program, wants_json: bool, transaction_uid: str) -> None:
    """Show every instance of one transaction and what was promised of it."""
    with program.database() as database, database.read() as connection:
        rows = list_items(connection, transaction_uid)
    if wants_json:
        print_json(rows)
    elif rows:
        show_table(console(), rows, _ITEM_COLUMNS)
    else:
        raise click.UsageError(
            f"no request has the Transaction UID {transaction_uid}; see `commitments list`"
        )


_BELOW: list[Column[CommitmentRow]] = [
    Column("TRANSACTION UID", lambda row: row.transaction_uid),
    Column("LAST ERROR", lambda row: row.last_error),
]

_ITEM_COLUMNS: list[Column[CommitmentItem]] = [
    Column("SOP INSTANCE UID", lambda row: row.sop_instance_uid),
    Column("RESULT", lambda row: row.result),
]


def _columns() -> list[Column[CommitmentRow]]:
    return [
        Column(f"ASKED ({zone_name()})", lambda row: local_time(row.asked_at)),
        Column("BY", lambda row: row.calling_ae_title),
        Column("STATE", lambda row: row.state),
        Column("INSTANCES", lambda row: str(row.number_of_instances)),
        Column("FAILED", lambda row: str(row.failed)),
        Column("TRIES", lambda row: str(row.attempts)),
    ]
