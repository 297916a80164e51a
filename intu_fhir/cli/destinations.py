"""``intu-fhir destinations``."""

from __future__ import annotations

from collections.abc import Iterable

import click

from intu_fhir.cli.confirm import confirm
from intu_fhir.cli.program import (
    Program,
    command,
    config_option,
    console,
    examples,
    json_option,
    pass_program,
    print_json,
    say,
)
from intu_fhir.cli.table import Column, show_table, state_style
from intu_fhir.cli.text import clean, local_minute, local_time, zone_name
from intu_fhir.db.audit import seal
from intu_fhir.db.destinations import (
    DestinationRow,
    list_destinations,
    names_with_work,
    pause,
    resume,
)
from intu_fhir.db.retired import Retirer, count_open, retire_all
from intu_fhir.db.session import Connection, Database
from intu_fhir.model.destination import DOWN, FAILING, LATER, PAUSED, RECOVERING, UP
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.login import login


@click.group(
    "destinations",
    invoke_without_command=True,
    epilog=examples(
        "intu-fhir destinations",
        "intu-fhir destinations pause pacs_archive --reason 'upgrade until 22:00'",
        "intu-fhir destinations resume pacs_archive",
        "intu-fhir destinations retire pacs_old --reason 'replaced by pacs_archive'",
    ),
)
@config_option()
@json_option()
@pass_program
@click.pass_context
def destinations_command(ctx: click.Context, program: Program, wants_json: bool) -> None:
    """List destinations: whether they answer, what waits for them, how fast it goes.

    Or pause and resume them, or take one out of service.
    """
    if ctx.invoked_subcommand is None:
        _list(program, wants_json)


def _list(program: Program, wants_json: bool) -> None:
    configured = program.staging().site.destinations
    with program.database() as database, database.read() as connection:
        names = [*configured, *(set(names_with_work(connection)) - set(configured))]
        rows = list_destinations(connection, names, SystemClock().now())
    if wants_json:
        print_json(rows)
    elif rows:
        show_table(console(), rows, _COLUMNS, below=[_WHY])
    else:
        say("No destination is configured, and nothing was ever to be delivered.")


def not_up(connection: Connection, names: Iterable[str]) -> dict[str, DestinationRow]:
    """Return the destinations that get nothing now, or less than they could, by name."""
    rows = list_destinations(connection, names, SystemClock().now())
    return {row.name: row for row in rows if row.state != UP}


def standing(row: DestinationRow) -> str:
    """Say in one line how a destination stands that is not up."""
    state = "" if row.state == PAUSED else f"{row.state}: "
    return clean(f"{row.name} is {state}{why_not_up(row)}")


def _oldest(row: DestinationRow) -> str:
    return local_minute(row.oldest_due)


def why_not_up(row: DestinationRow) -> str:
    """Say why a destination is not up, and what follows."""
    if row.state == PAUSED:
        reason = f": {row.pause_reason}" if row.pause_reason else ""
        return f"paused by {row.paused_by} at {local_time(row.paused_at)}{reason}"
    if row.state == DOWN:
        return (
            f"nothing gets there since {local_time(row.opened_at)}: {row.last_error}; "
            f"next probe at {local_time(row.next_probe_at)}"
        )
    if row.state == LATER:
        return (
            f"has asked to be left alone until {local_time(row.free_at)}; resume it to try before"
        )
    if row.state == RECOVERING:
        return f"answers again; {row.allowed} at the same time until it has shown that it copes"
    if row.shown == FAILING:
        what = "last delivery" if row.failing == 1 else f"last {row.failing} deliveries"
        return f"the {what} failed for good; `intu-fhir deliveries --by-cause` says why"
    return ""


_COLUMNS: list[Column[DestinationRow]] = [
    Column("STATE", lambda row: row.shown, style=state_style),
    Column("DESTINATION", lambda row: row.name, shrinks=True),
    Column("WAITING", lambda row: row.waiting, right=True),
    Column("RUNNING", lambda row: row.running, right=True),
    Column("RETRYING", lambda row: row.retrying, right=True),
    Column("DEAD", lambda row: row.dead, right=True),
    Column("HELD", lambda row: row.held, right=True, optional=True),
    Column("LAST HOUR", lambda row: row.delivered_last_hour, right=True),
    Column(f"OLDEST DUE ({zone_name()})", _oldest, optional=True),
]
_WHY: Column[DestinationRow] = Column("WHY", why_not_up)


@destinations_command.add_command
@command("pause", "intu-fhir destinations pause pacs_archive --reason 'upgrade until 22:00'")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--by", metavar="NAME", help="Who pauses. Default: the user who is logged in.")
@click.option("--reason", metavar="TEXT", default="", help="Why; shown to all who look.")
def pause_command(program: Program, names: tuple[str, ...], by: str | None, reason: str) -> None:
    """Let nothing more go to a destination until it is resumed.

    What is on its way is finished. What waits goes on waiting and loses no attempt by it. It
    holds for all workers, and over restarts.
    """
    with program.database() as database:
        _refuse_unknown(program, database, names)
        for name in names:
            with database.write() as connection:
                now = SystemClock().now()
                done = pause(connection, name, by=by or login(), reason=reason, now=now)
            seal(database)
            say(f"{name} is paused" if done else f"{name} was paused already")


@destinations_command.add_command
@command("resume", "intu-fhir destinations resume pacs_archive")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--by", metavar="NAME", help="Who resumes. Default: the user who is logged in.")
def resume_command(program: Program, names: tuple[str, ...], by: str | None) -> None:
    """Let deliveries go to a paused destination again."""
    with program.database() as database:
        _refuse_unknown(program, database, names)
        for name in names:
            with database.write() as connection:
                done = resume(connection, name, by=by or login(), now=SystemClock().now())
            seal(database)
            say(f"{name} is resumed" if done else f"{name} was not paused")


@destinations_command.add_command
@command(
    "retire", "intu-fhir destinations retire pacs_old --reason 'replaced by pacs_archive' --yes"
)
@click.argument("name", metavar="NAME")
@click.option("--by", metavar="NAME", help="Who does it. Default: the user who is logged in.")
@click.option("--reason", metavar="TEXT", default="", help="Why; shown with each study.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def retire_command(program: Program, name: str, by: str | None, reason: str, yes: bool) -> None:
    """Take a destination out of service for good.

    Remove it from the channels and from intu.yaml before, and restart what runs. What it has not
    got by then, waiting, failed or held, is left out (filtered) and keeps no study open any more.
    What it has stays told.
    """
    if name in program.staging().site.destinations:
        raise click.BadParameter(
            f"{name} is configured; remove it from the channels and from intu.yaml, restart what "
            "runs, then say it again"
        )
    with program.database() as database:
        _refuse_unknown(program, database, [name])
        with database.read() as connection:
            waiting = count_open(connection, name)
        if not yes:
            confirm(f"Leave {_studies(waiting)} out of {name} for good?")
        done = retire_all(database, name, Retirer(by or login(), reason), SystemClock().now)
        seal(database)
        say(f"{name} is out of service; {_studies(done)} left out")


def _studies(number: int) -> str:
    return f"{number:,} {'study' if number == 1 else 'studies'}"


def _refuse_unknown(program: Program, database: Database, names: Iterable[str]) -> None:
    """Refuse a name that nothing has: a typing mistake must not look like a job done."""
    known = set(program.staging().site.destinations)
    with database.read() as connection:
        known.update(names_with_work(connection))
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise click.BadParameter(f"no destination is called {name}; there are: {there}")
