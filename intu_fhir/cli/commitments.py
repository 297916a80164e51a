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
from intu_fhir.db.audit import seal
from intu_fhir.db.commitment_report import (
    CommitmentItem,
    CommitmentRow,
    list_commitments,
    list_items,
)
from intu_fhir.db.commitment_upkeep import tell_again
from intu_fhir.model.commitment import STATES
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.login import login


@group("commitments", "intu-fhir commitments list", "intu-fhir commitments retry --all")
def commitments_command() -> None:
    """List requests for storage commitment, and tell results again."""


@commitments_command.add_command
@command("list", "intu-fhir commitments list --state unreported")
@click.option(
    "--state",
    type=click.Choice(STATES),
    metavar="STATE",
    help="received, asked, checked, reported or unreported.",
)
@click.option("--requester", metavar="AE_TITLE", help="Of one requester.")
@limit_option()
@json_option()
def list_command(
    program: Program, wants_json: bool, state: str | None, requester: str | None, limit: int
) -> None:
    """List requests for storage commitment, the newest first.

    A result that is checked and not reported waits for its requester: `last error` says why. One
    that is unreported was given up; `commitments retry` has it told again.
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


@commitments_command.add_command
@command(
    "retry", "intu-fhir commitments retry 1.2.840.99999.7", "intu-fhir commitments retry --all"
)
@click.argument("transactions", nargs=-1, metavar="[TRANSACTION_UID]...")
@click.option("--requester", metavar="AE_TITLE", help="All of one requester.")
@click.option("--all", "everything", is_flag=True, help="Needed where nothing else is selected.")
@click.option("--by", metavar="NAME", help="Who asks. Default: the user who is logged in.")
def retry_command(
    program: Program,
    transactions: tuple[str, ...],
    requester: str | None,
    everything: bool,
    by: str | None,
) -> None:
    """Have results told again that were given up, which `commitments list` calls unreported.

    Every instance is looked at again first. It is recorded with your name.
    """
    if not (transactions or requester or everything):
        raise click.UsageError("name transactions or a --requester, or say --all")
    now = SystemClock().now()
    with program.database() as database:
        with database.write() as connection:
            count = tell_again(
                connection,
                now,
                by=(by or login())[:64],
                transactions=transactions or None,
                requester=requester,
            )
        seal(database)
    say(
        f"{count} results are looked at and told again." if count else "None of these was given up."
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
