"""``intu-fhir replay``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import click

from intu_fhir.cli.amount import Amount
from intu_fhir.cli.confirm import confirm
from intu_fhir.cli.program import Program, command, json_option, print_json, say
from intu_fhir.cli.progress import progress
from intu_fhir.cli.text import TIME, clean
from intu_fhir.cli.uid import UID, known_study
from intu_fhir.cli.unknown import refuse_unknown_destination
from intu_fhir.db.audit import seal
from intu_fhir.db.delivery_report import count_deliveries
from intu_fhir.db.failures import causes, causes_with, states_of
from intu_fhir.db.readonly import RefusedQuery
from intu_fhir.db.replay import ReplayFilter, ReplayQuery, replay_columns
from intu_fhir.db.session import Database
from intu_fhir.model.work import DEAD, DELIVERED, RETRYING, RUNNING, WAITING
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.login import login
from intu_fhir.pipeline.replay import Replayed, ReplaySelection, chosen_rows, replay

_GOES_ON = frozenset({WAITING, RUNNING, RETRYING})
_LOOK_SECONDS = 0.5
_LONGEST_REASON = 500
_MOST_LISTED = 20


def _show_columns(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo("\n".join(replay_columns()))
        ctx.exit()


@command(
    "replay",
    "intu-fhir replay --destination ehr_fhir --since 12h --dry-run",
    "intu-fhir replay --where \"last_status = '422' AND modalities LIKE '%MR%'\"",
    "intu-fhir replay --rebuild --since 7d",
    'intu-fhir replay --state dead --per-minute 60 --reason "EHR was down" --wait',
)
@click.option("--study", type=UID, metavar="UID", help="Of one study.")
@click.option("--destination", metavar="NAME", help="At one destination.")
@click.option(
    "--state",
    "states",
    type=click.Choice([DEAD, RETRYING, DELIVERED]),
    metavar="STATE",
    multiple=True,
    help="dead, retrying, or (with --force) delivered. Default: dead and retrying.",
)
@click.option("--since", type=TIME, help="Changed since; with --rebuild: received since.")
@click.option("--until", type=TIME, help="Changed before; with --rebuild: received before.")
@click.option("--where", metavar="SQL", help="A predicate over the columns of --columns.")
@click.option(
    "--cause",
    metavar="TEXT",
    help="For this cause, as `deliveries --by-cause` has it, or a part of it.",
)
@click.option("--rebuild", is_flag=True, help="Build again first: the mapping changed.")
@click.option("--force", is_flag=True, help="Send again what the destination has already.")
@click.option("--all", "everything", is_flag=True, help="Needed where nothing else is selected.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--per-minute",
    type=Amount(above=True),
    metavar="N",
    help="Let so many become due within a minute. Default: all at once.",
)
@click.option("--by", metavar="NAME", help="Who asks. Default: the user who is logged in.")
@click.option("--reason", metavar="TEXT", default="", help="Why, for the audit trail.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait", is_flag=True, help="Show how it goes on until all of it has ended.")
@click.option(
    "--columns",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_columns,
    help="List the columns that --where may use.",
)
@json_option()
def replay_command(
    program: Program,
    wants_json: bool,
    study: str | None,
    destination: str | None,
    states: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    where: str | None,
    cause: str | None,
    rebuild: bool,
    force: bool,
    everything: bool,
    dry_run: bool,
    per_minute: float | None,
    by: str | None,
    reason: str,
    yes: bool,
    wait: bool,
) -> None:
    """Put deliveries and failed steps back.

    They become due at once, with all their attempts ahead of them. Never sends again what a
    destination has, unless --force says so; never lets a held study go. On a terminal it says
    how many there are and asks first. Who and why is recorded in the audit trail.
    """
    chosen = (study, destination, states, since, until, where, cause)
    if not everything and not any(chosen):
        raise click.UsageError("select something, or say --all; --dry-run shows what it means")
    if force and rebuild:
        raise click.UsageError("--rebuild sends what changed anyway; leave --force out")
    if rebuild and per_minute:
        raise click.UsageError("--rebuild has no pace; give destinations a max_per_minute")
    wanted = ReplayFilter(
        study_instance_uid=study,
        destination=destination,
        states=states or None,
        since=since,
        until=until,
        by_reception=rebuild,
        where=where,
        cause=cause,
    )
    selection = ReplaySelection(
        wanted,
        rebuild=rebuild,
        force=force,
        dry_run=dry_run,
        per_minute=per_minute,
        by=(by or login())[:64],
        reason=reason[:_LONGEST_REASON],
    )
    asks = not (dry_run or yes or wants_json) and sys.stdin.isatty()
    with program.database() as database:
        _refuse_unknown(database, wanted)
        selection = replace(selection, filter=_with_cause(database, wanted))
        try:
            _act(database, selection, asks=asks, wants_json=wants_json, wait=wait)
        except RefusedQuery as error:
            raise click.BadParameter(str(error), param_hint="--where") from None


def _act(
    database: Database, selection: ReplaySelection, *, asks: bool, wants_json: bool, wait: bool
) -> None:
    """Ask where that is wanted, do it, say what was done, and watch how it goes on."""
    clock = SystemClock()
    if asks:
        planned = replay(database, clock, replace(selection, dry_run=True))
        _show(planned)
        if not planned.number:
            return
        confirm("Do it?")
    keys = chosen_rows(database, selection) if wait and not selection.dry_run else ((), ())
    done = replay(database, clock, selection)
    if wants_json:
        print_json(done)
    else:
        _show(done)
    if not selection.dry_run:
        seal(database)
    if any(keys):
        _watch(database, *keys)


def _watch(database: Database, delivery_keys: Sequence[int], work_keys: Sequence[int]) -> None:
    """Show how many have ended until all have; who is tired of it presses Ctrl-C."""
    ended, counts = 0, Counter[str]()
    with progress("Replaying") as on_progress:
        on_progress(0, len(delivery_keys) + len(work_keys))
        while True:
            with database.read() as connection:
                counts = states_of(connection, delivery_keys, work_keys)
            now_ended = sum(number for state, number in counts.items() if state not in _GOES_ON)
            on_progress(now_ended - ended)
            ended = now_ended
            if ended >= counts.total():
                break
            time.sleep(_LOOK_SECONDS)
    say(", ".join(f"{number} {state}" for state, number in sorted(counts.items())))


def _refuse_unknown(database: Database, wanted: ReplayFilter) -> None:
    """Refuse a name that nothing has: a typing mistake must not look like a job done."""
    study, destination = wanted.study_instance_uid, wanted.destination
    with database.read() as connection:
        if study:
            known_study(connection, study, "--study")
        known = count_deliveries(connection)
    if destination and known:
        refuse_unknown_destination(destination, known)


def _with_cause(database: Database, wanted: ReplayFilter) -> ReplayFilter:
    """Replace a part of a cause by the whole of it, where there is one that has it."""
    cause = wanted.cause
    if not cause or ReplayQuery(database, ReplayFilter(cause=cause)).counts():
        return wanted
    with database.read() as connection:
        found = causes_with(causes(connection, wanted.destination), cause)
    if len(found) == 1:
        return replace(wanted, cause=found[0])
    if not found:
        words = (
            "nothing fails for this cause now; `intu-fhir deliveries --by-cause` lists the causes "
            "there are"
        )
    else:
        listed = "".join(f"\n  {clean(text)}" for text in found[:_MOST_LISTED])
        more = f"\n  and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
        words = (
            f"{len(found)} causes have these words; give more of the one you mean:{listed}{more}"
        )
    raise click.BadParameter(words, param_hint="--cause")


def _show(done: Replayed) -> None:
    counts = (
        (done.deliveries, "delivery", "deliveries"),
        (done.steps, "step", "steps"),
        (done.studies, "study to be built again", "studies to be built again"),
    )
    parts = [f"{number} {one if number == 1 else many}" for number, one, many in counts if number]
    verb = "would be put back" if done.dry_run else "put back"
    say(f"{', '.join(parts)} {verb}." if parts else "Nothing to put back.")
    for reason, number in done.left.items():
        say(f"  {number} left alone: {reason}")
