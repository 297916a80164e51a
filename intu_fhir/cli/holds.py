"""``intu-fhir holds``."""

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
from intu_fhir.db.holds import Release, release, study_of_hold
from intu_fhir.db.review import HoldRow, list_holds
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.login import login


@group("holds", "intu-fhir holds list", "intu-fhir holds release 7")
def holds_command() -> None:
    """List and release studies that wait for a person."""


@holds_command.add_command
@command("list", "intu-fhir holds list", "intu-fhir holds list --released --json")
@click.option("--study", metavar="UID", help="Of one study.")
@click.option("--released", is_flag=True, help="Those that were released too.")
@limit_option()
@json_option()
def list_command(
    program: Program, wants_json: bool, study: str | None, released: bool, limit: int
) -> None:
    """List studies that are not published until a person decides, the oldest first."""
    with program.database() as database, database.read() as connection:
        rows = list_holds(connection, released=released, study_instance_uid=study, limit=limit)
    if wants_json:
        print_json(rows)
    elif rows:
        show_table(console(), rows, _columns(released), below=_BELOW)
    else:
        say("No study is held.")


_BELOW: list[Column[HoldRow]] = [
    Column("STUDY INSTANCE UID", lambda row: row.study_instance_uid),
    Column("DETAIL", lambda row: row.detail),
]


def _columns(released: bool) -> list[Column[HoldRow]]:
    columns: list[Column[HoldRow]] = [
        Column("HOLD", lambda row: row.hold_key, right=True),
        Column(f"SINCE ({zone_name()})", lambda row: local_time(row.held_at)),
        Column("FOR", lambda row: row.destination or "all", shrinks=True),
        Column("REASON", lambda row: row.reason, shrinks=True),
    ]
    by: Column[HoldRow] = Column("RELEASED BY", lambda row: row.released_by)
    return [*columns, by] if released else columns


@holds_command.add_command
@command("release", "intu-fhir holds release 7 8")
@click.argument("holds", nargs=-1, required=True, type=int, metavar="HOLD...")
@click.option("--by", metavar="NAME", help="Who decides. Default: the user who is logged in.")
@click.pass_context
def release_command(
    ctx: click.Context, program: Program, holds: tuple[int, ...], by: str | None
) -> None:
    """Release holds, by the number that `holds list` shows.

    What they kept back becomes due, unless another hold still keeps it. A hold of one
    destination makes it judge the study again. The decision is recorded with your name.
    """
    open_ones = 0
    with program.database() as database:
        for hold in holds:
            with database.write() as connection:
                now = SystemClock().now()
                found = release(connection, hold, by=(by or login())[:64], now=now)
                uid = study_of_hold(connection, hold)
            open_ones += found not in _REFUSED
            say(f"Hold {hold}{_SAID[found].format(uid=uid)}", stderr=found in _REFUSED)
        seal(database)
    if open_ones < len(holds):
        ctx.exit(1)


_REFUSED = frozenset({Release.NOT_OPEN, Release.NEEDS_REBUILD})
_SAID = {
    Release.RELEASED: " is released; its study goes on.",
    Release.ASKED_AGAIN: " is released; the destination judges the study again, and holds it "
    "again unless the cause is gone.",
    Release.NEEDS_REBUILD: " stays: a resource with errors is never sent. Read its findings with "
    "`intu-fhir study {uid}`, mend the images or the mapping, then `intu-fhir replay --rebuild "
    "--study {uid}`.",
    Release.NOT_OPEN: " is not open; see `intu-fhir holds list`.",
}
