"""``intu-fhir deliveries``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from functools import partial

import click

from intu_fhir.cli.causes import show_causes
from intu_fhir.cli.destinations import not_up, standing
from intu_fhir.cli.program import (
    Program,
    command,
    console,
    json_option,
    limit_option,
    print_json,
    say,
)
from intu_fhir.cli.table import Column, show_table, state_style
from intu_fhir.cli.text import TIME, clean, local_time, zone_name
from intu_fhir.cli.uid import UID, known_study
from intu_fhir.cli.unknown import refuse_unknown
from intu_fhir.db.delivery_report import (
    DeliveryFilter,
    DeliveryRow,
    count_deliveries,
    list_deliveries,
)
from intu_fhir.db.destinations import DestinationRow
from intu_fhir.model.archive_commitment import PROMISES
from intu_fhir.model.counting import counted
from intu_fhir.model.destination import PAUSED
from intu_fhir.model.work import DEAD, DELIVERED, FILTERED, HELD, RETRYING, RUNNING, WAITING

DELIVERY_STATES = (WAITING, RUNNING, RETRYING, DELIVERED, DEAD, HELD, FILTERED)
_FEW = 3
OPEN_STATES = (WAITING, RUNNING, RETRYING, DEAD, HELD)


def delivery_columns(kept: Mapping[str, DestinationRow]) -> list[Column[DeliveryRow]]:
    """Return what a list of deliveries shows.

    Args:
        kept: the destinations that are not simply up.
    """
    return [
        Column("STATE", lambda row: row.state, style=state_style),
        Column("DESTINATION", lambda row: row.destination, shrinks=True),
        Column("HAS/WANTS", lambda row: f"{row.have}/{row.want}", right=True),
        Column("TRIES", lambda row: row.attempts or "", right=True),
        Column(f"NEXT TRY ({zone_name()})", partial(_next_try, kept), optional=True),
        Column("STATUS", lambda row: row.last_status, shrinks=True),
    ]


def _next_try(kept: Mapping[str, DestinationRow], row: DeliveryRow) -> str:
    """Say when it is tried, which is not before its destination may get anything."""
    if row.state not in {WAITING, RETRYING} or row.due_at is None:
        return ""
    at = kept.get(row.destination)
    if at is None:
        return local_time(row.due_at)
    if at.state == PAUSED:
        return ""
    times = (row.due_at, at.next_probe_at, at.free_at)
    return local_time(max(time for time in times if time is not None))


def _why(kept: Mapping[str, DestinationRow], row: DeliveryRow) -> str:
    """Say why it is not there, or how it is there."""
    if row.state == WAITING and row.follows and row.due_at is None:
        return _waits_for(row)
    if row.state == HELD and row.held_for:
        return row.held_for
    if row.reason:
        return row.reason
    if row.last_error:
        return row.last_error
    if row.state == WAITING and row.destination in kept:
        return f"waits for {row.destination}, which is {kept[row.destination].state}"
    if row.state == DELIVERED:
        version = f"version {row.server_version}" if row.server_version else ""
        named = " ".join(part for part in ("id", row.server_id, version) if part)
        plain = f"{counted(row.transcoded, 'image')} decompressed" if row.transcoded else ""
        how = (named if row.server_id else "", plain, row.warning, _promise(row))
        return "; ".join(part for part in how if part)
    return ""


def _promise(row: DeliveryRow) -> str:
    """Say whether a PACS has promised to keep it, and since when."""
    words = PROMISES.get(row.commitment, "")
    return f"{words} {local_time(row.committed_at)}" if words and row.committed_at else words


def _waits_for(row: DeliveryRow) -> str:
    """Say whom it waits for, and how that one is doing."""
    if row.followed_state is None:
        again = f"`intu-fhir replay --rebuild --study {row.study_instance_uid}`"
        return f"waits for {row.follows}, which was never asked for; {again}"
    if row.followed_state == DELIVERED and row.followed_commitment:
        return f"waits for {row.follows}, {PROMISES[row.followed_commitment]}"
    cause = f": {row.followed_error}" if row.followed_error else ""
    return f"waits for {row.follows}, which is {row.followed_state}{cause}"


def why_column(kept: Mapping[str, DestinationRow]) -> Column[DeliveryRow]:
    """Return the line below a delivery."""
    return Column("WHY", partial(_why, kept))


_UID: Column[DeliveryRow] = Column("STUDY INSTANCE UID", lambda row: row.study_instance_uid)


@command(
    "deliveries",
    "intu-fhir deliveries",
    "intu-fhir deliveries --by-cause",
    "intu-fhir deliveries --state dead --destination ehr_fhir --since 12h",
)
@click.option("--study", "study_instance_uid", type=UID, metavar="UID", help="Of one study.")
@click.option("--destination", metavar="NAME", help="At one destination.")
@click.option(
    "--state",
    "states",
    type=click.Choice(DELIVERY_STATES),
    metavar="STATE",
    multiple=True,
    help=f"One of: {', '.join(DELIVERY_STATES)}; may be given several times. "
    "Default: all that are not done.",
)
@click.option("--all", "every", is_flag=True, help="Delivered and filtered ones too.")
@click.option("--by-cause", is_flag=True, help="What fails, gathered by place and cause.")
@click.option("--since", "updated_from", type=TIME, help="Changed since: 2024-03-01 or 2h.")
@click.option("--until", "updated_to", type=TIME, help="Changed before.")
@limit_option()
@json_option()
def deliveries_command(
    program: Program,
    wants_json: bool,
    study_instance_uid: str | None,
    destination: str | None,
    states: tuple[str, ...],
    every: bool,
    by_cause: bool,
    updated_from: datetime | None,
    updated_to: datetime | None,
    limit: int,
) -> None:
    """List what waits, what failed, what is dead, and why.

    A delivery is one study at one destination. HAS/WANTS counts versions of the study: 1/2
    means that the destination has the first and is to get the second.
    """
    if by_cause:
        if study_instance_uid or states or every or updated_from or updated_to:
            raise click.UsageError("--by-cause is about all that fails; --destination may be added")
        with program.database() as database, database.read() as connection:
            refuse_unknown(program, connection, destination)
        show_causes(program, destination, wants_json=wants_json)
        return
    wanted = DeliveryFilter(
        study_instance_uid=study_instance_uid,
        destination=destination,
        states=None if every else states or OPEN_STATES,
        updated_from=updated_from,
        updated_to=updated_to,
        limit=limit,
    )
    with program.database() as database, database.read() as connection:
        refuse_unknown(program, connection, destination)
        of_study = None
        if study_instance_uid:
            of_study = known_study(connection, study_instance_uid, "--study").study_key
        rows = list_deliveries(connection, wanted)
        counts = count_deliveries(connection, of_study)
        kept = not_up(connection, counts)
    if wants_json:
        print_json(rows)
        return
    _show(wanted, rows, counts, kept)


def _show(
    wanted: DeliveryFilter,
    rows: list[DeliveryRow],
    counts: dict[str, dict[str, int]],
    kept: Mapping[str, DestinationRow],
) -> None:
    for destination, by_state in counts.items():
        numbers = ", ".join(f"{number} {state}" for state, number in by_state.items())
        say(f"{clean(destination)}: {numbers}")
    for one in kept.values():
        say(standing(one))
    if not rows:
        say(_nothing(wanted, counts))
        return
    say()
    shown, more = _few_alike(rows) if _gathers(wanted) else (rows, Counter())
    show_table(console(), shown, delivery_columns(kept), below=[_UID, why_column(kept)])
    for (destination, reason), number in more.items():
        say(clean(f"... and {number} more held at {destination} for {reason}"))
    if any(row.state == DEAD for row in rows):
        say("Dead ones are not tried again: mend the cause, then `intu-fhir replay`.", stderr=True)
    if any(row.state == HELD for row in rows):
        say("Held ones wait for a decision: `intu-fhir holds list --by-reason`.", stderr=True)
    if len(rows) == wanted.limit:
        say(f"The newest {wanted.limit}; narrow down or raise --limit to see more.", stderr=True)


def _gathers(wanted: DeliveryFilter) -> bool:
    """Say whether many that are held for one reason would only hide the others."""
    return wanted.states == OPEN_STATES and not wanted.study_instance_uid


def _few_alike(
    rows: list[DeliveryRow],
) -> tuple[list[DeliveryRow], Counter[tuple[str, str]]]:
    """Return rows of which few are held at one place for one reason, and how many more are."""
    shown, seen, more = [], Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for row in rows:
        alike = (row.destination, (row.held_for or "").partition(":")[0])
        if row.state != HELD or not row.held_for:
            shown.append(row)
            continue
        seen[alike] += 1
        if seen[alike] <= _FEW:
            shown.append(row)
        else:
            more[alike] += 1
    return shown, more


def _nothing(wanted: DeliveryFilter, counts: dict[str, dict[str, int]]) -> str:
    of_study = " of this study" if wanted.study_instance_uid else ""
    if not counts:
        return f"No deliveries{of_study} yet."
    if any(state in OPEN_STATES for by_state in counts.values() for state in by_state):
        return "No delivery matches."
    if wanted.states == OPEN_STATES:
        more = "; --all lists what there is" if of_study else ""
        return f"Nothing{of_study} waits and nothing failed{more}."
    return "No delivery matches."
