"""What fails, gathered by cause: one line for a hundred dead letters with one reason."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from intu_fhir.cli.destinations import not_up, standing
from intu_fhir.cli.program import Program, console, print_json, say
from intu_fhir.cli.table import Column, show_table
from intu_fhir.cli.text import local_time, zone_name
from intu_fhir.db.destinations import names_with_work
from intu_fhir.db.failures import Cause, causes, left_out
from intu_fhir.db.review import gather_holds
from intu_fhir.model.cause import remedy_of
from intu_fhir.model.counting import counted

if TYPE_CHECKING:
    from intu_fhir.db.session import Connection


def show_causes(program: Program, destination: str | None, *, wants_json: bool) -> None:
    """Print the causes of everything that fails, what concerns most first."""
    with program.database() as database, database.read() as connection:
        found = causes(connection, destination)
        cut = left_out(connection, found, destination)
        held = _held(connection, destination)
        names = [destination] if destination else names_with_work(connection)
        kept = not_up(connection, names)
    if wants_json:
        print_json([asdict(one) | {"remedy": remedy_of(one.example)} for one in found])
    elif not found:
        say("Nothing fails.")
    else:
        show_table(console(), found, _columns(), below=_BELOW)
    if not wants_json:
        for one in kept.values():
            waits = counted(one.waiting, "delivery", "deliveries")
            verb = "waits" if one.waiting == 1 else "wait"
            say(f"{standing(one)}\n  {waits} {verb} for it besides, not tried yet.")
    if cut:
        say(cut, stderr=True)
    if found and not wants_json:
        say("Mend a cause, then replay what it concerns: `intu-fhir replay --cause TEXT`.")
    if held and not wants_json:
        waits = "waits" if held == 1 else "wait"
        more = "`intu-fhir holds list --by-reason`"
        say(f"{counted(held, 'hold')} {waits} for a decision: {more}.")


def _held(connection: Connection, destination: str | None) -> int:
    """Return how many open holds keep something from a destination, or from any."""
    concerned = {"", destination}
    groups = gather_holds(connection)
    return sum(one.number for one in groups if not destination or one.destination in concerned)


def _columns() -> list[Column[Cause]]:
    return [
        Column("AT", lambda one: one.destination or one.step, shrinks=True),
        Column("DEAD", lambda one: one.dead, right=True),
        Column("RETRYING", lambda one: one.retrying, right=True),
        Column(f"SINCE ({zone_name()})", lambda one: local_time(one.since) if one.since else ""),
        Column("NEWEST", lambda one: local_time(one.newest)),
    ]


_BELOW: list[Column[Cause]] = [
    Column("CAUSE", lambda one: one.cause),
    Column("FOR EXAMPLE", lambda one: one.example),
    Column("DO", lambda one: remedy_of(one.example)),
]
