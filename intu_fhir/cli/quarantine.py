"""``intu-fhir quarantine``."""

from __future__ import annotations

from contextlib import closing

import click

from intu_fhir.app.storing import open_files
from intu_fhir.cli.confirm import confirm
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
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.quarantine import take_out
from intu_fhir.db.review import QuarantineRow, list_quarantine
from intu_fhir.model.audit import Actor
from intu_fhir.model.counting import counted
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.login import login
from intu_fhir.upkeep.prune import Prune


@group("quarantine", "intu-fhir quarantine list", "intu-fhir quarantine remove 3 --reason resent")
def quarantine_command() -> None:
    """List and remove objects that were kept but are not published."""


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
    Column("STUDY INSTANCE UID", lambda row: row.study_instance_uid),
    Column("SOP INSTANCE UID", lambda row: row.sop_instance_uid),
    Column("DETAIL", lambda row: row.detail),
    Column("FILE", lambda row: row.file),
]


def _columns() -> list[Column[QuarantineRow]]:
    return [
        Column("OBJECT", lambda row: row.quarantine_key, right=True),
        Column(f"RECEIVED ({zone_name()})", lambda row: local_time(row.received_at)),
        Column("REASON", lambda row: row.reason),
        Column("FROM", lambda row: row.calling_ae_title or "import"),
    ]


@quarantine_command.add_command
@command("remove", "intu-fhir quarantine remove 3 4 --reason 'resent under a new UID'")
@click.argument("objects", nargs=-1, required=True, type=int, metavar="OBJECT...")
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the audit trail.")
@click.option("--by", metavar="NAME", help="Who decides. Default: the user who is logged in.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def remove_command(
    ctx: click.Context,
    program: Program,
    objects: tuple[int, ...],
    reason: str,
    by: str | None,
    yes: bool,
) -> None:
    """Remove objects, by the number that `quarantine list` shows, and their files for good.

    The instance that is staged under the same UID stays. The decision is recorded with your name.
    """
    if not yes:
        confirm(f"Remove {counted(len(objects), 'object')} and the files for good?")
    person, clock, unknown = (by or login())[:64], SystemClock(), []
    site = program.staging().site
    with program.database() as database, closing(open_files(site, database)) as files:
        for number in objects:
            with database.write() as connection:
                now = clock.now()
                if not take_out(connection, number, by=person, reason=reason, now=now):
                    unknown.append(number)
        gone = Prune(database, files, clock, Pruner(person, Actor.PERSON)).remove_files()
        seal(database)
    say(f"{counted(len(objects) - len(unknown), 'object')} removed")
    if gone is None:
        say("A backup is being made: the files are removed after it.", stderr=True)
    for number in unknown:
        say(f"There is no object {number}; see `intu-fhir quarantine list`.", stderr=True)
    if unknown:
        ctx.exit(1)
