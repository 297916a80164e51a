"""``intu-fhir holds``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import click

from intu_fhir.cli.confirm import confirm
from intu_fhir.cli.program import (
    KEY,
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
from intu_fhir.cli.text import clean, local_time, zone_name
from intu_fhir.cli.uid import UID, known_study
from intu_fhir.cli.unknown import refuse_unknown
from intu_fhir.db.audit import seal
from intu_fhir.db.holds import Release, release, study_of_hold
from intu_fhir.db.review import HoldGroup, HoldRow, gather_holds, list_holds
from intu_fhir.db.session import Database
from intu_fhir.model.counting import counted
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.login import login


@group("holds", "intu-fhir holds list", "intu-fhir holds release 7")
def holds_command() -> None:
    """List and release studies that wait for a person."""


_held_for = partial(
    click.option, "--held-for", metavar="CODE", help="For this reason, such as patient_conflict."
)
_destination = partial(
    click.option, "--destination", metavar="NAME", help="Of this destination alone."
)


@holds_command.add_command
@command(
    "list",
    "intu-fhir holds list",
    "intu-fhir holds list --by-reason",
    "intu-fhir holds list --held-for patient_not_found --destination ehr_fhir",
)
@click.option("--study", type=UID, metavar="UID", help="Of one study.")
@_held_for()
@_destination()
@click.option("--released", is_flag=True, help="Those that were released too.")
@click.option("--by-reason", is_flag=True, help="How many there are, by reason and destination.")
@limit_option()
@json_option()
def list_command(
    program: Program,
    wants_json: bool,
    study: str | None,
    held_for: str | None,
    destination: str | None,
    released: bool,
    by_reason: bool,
    limit: int,
) -> None:
    """List studies that are not published until a person decides, the oldest first."""
    if by_reason and (study or released):
        raise click.UsageError("--by-reason is about all open holds; leave out --study, --released")
    rows: Sequence[HoldRow | HoldGroup]
    with program.database() as database, database.read() as connection:
        refuse_unknown(program, connection, destination)
        if study:
            known_study(connection, study, "--study")
        if by_reason:
            rows = gather_holds(connection, reason=held_for, destination=destination)
        else:
            rows = list_holds(
                connection,
                released=released,
                study_instance_uid=study,
                reason=held_for,
                destination=destination,
                limit=limit,
            )
    if wants_json:
        print_json(rows)
    elif not rows:
        say("No hold matches." if study or held_for or destination else "No study is held.")
    else:
        _show(rows, released=released, limit=limit)


def _show(rows: Sequence[HoldRow | HoldGroup], *, released: bool, limit: int) -> None:
    single = [row for row in rows if isinstance(row, HoldRow)]
    groups = [row for row in rows if isinstance(row, HoldGroup)]
    if groups:
        show_table(console(), groups, _group_columns(), below=_GROUP_BELOW)
        return
    show_table(console(), single, _columns(released), below=_BELOW)
    if len(single) == limit:
        say(f"The oldest {limit}; --by-reason counts them, --limit shows more.", stderr=True)


_GROUP_BELOW: list[Column[HoldGroup]] = [Column("FOR EXAMPLE", lambda row: row.example)]


def _group_columns() -> list[Column[HoldGroup]]:
    return [
        Column("HELD", lambda row: row.number, right=True),
        Column("FOR", lambda row: row.destination or "all", shrinks=True),
        Column("REASON", lambda row: row.reason, shrinks=True),
        Column(f"SINCE ({zone_name()})", lambda row: local_time(row.since)),
        Column("NEWEST", lambda row: local_time(row.newest), optional=True),
    ]


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
@command(
    "release",
    "intu-fhir holds release 7 8 --reason 'the order was corrected'",
    "intu-fhir holds release --held-for patient_not_found --destination ehr_fhir",
)
@click.argument("holds", nargs=-1, type=KEY, metavar="[HOLD]...")
@_held_for()
@_destination()
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the audit trail.")
@click.option("--by", metavar="NAME", help="Who decides. Default: the user who is logged in.")
@click.option("--yes", is_flag=True, help="Do not ask, where they are not given by number.")
@click.pass_context
def release_command(
    ctx: click.Context,
    program: Program,
    holds: tuple[int, ...],
    held_for: str | None,
    destination: str | None,
    reason: str,
    by: str | None,
    yes: bool,
) -> None:
    """Release holds, by the number that `holds list` shows, or all that are held for a reason.

    What they kept back becomes due, unless another hold still keeps it. A hold of one
    destination makes it judge the study again. The decision is recorded with your name.
    """
    if bool(holds) == bool(held_for):
        raise click.UsageError("name holds by their numbers, or all of a reason by --held-for")
    if destination and not held_for:
        raise click.UsageError("--destination narrows --held-for down")
    open_ones = 0
    with program.database() as database:
        if held_for:
            holds = _chosen(program, database, held_for, destination)
            if not yes:
                confirm(f"Release {counted(len(holds), 'hold')}?")
        for hold in holds:
            with database.write() as connection:
                now, person = SystemClock().now(), (by or login())[:64]
                found = release(connection, hold, by=person, why=reason, now=now)
                named = found is Release.NEEDS_REBUILD
                uid = study_of_hold(connection, hold) if named else ""
            open_ones += found not in _REFUSED
            say(f"Hold {hold}{_SAID[found].format(uid=uid)}", stderr=found in _REFUSED)
        seal(database)
    if open_ones < len(holds):
        ctx.exit(1)


def _chosen(
    program: Program, database: Database, held_for: str, destination: str | None
) -> tuple[int, ...]:
    with database.read() as connection:
        refuse_unknown(program, connection, destination)
        rows = list_holds(connection, reason=held_for, destination=destination, limit=_MOST)
    if not rows:
        raise click.BadParameter(
            f"nothing is held for {clean(held_for)}; see `intu-fhir holds list --by-reason`",
            param_hint="--held-for",
        )
    return tuple(row.hold_key for row in rows)


_MOST = 100_000
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
