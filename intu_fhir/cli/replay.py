"""``intu-fhir replay``."""

from __future__ import annotations

from datetime import datetime

import click

from intu_fhir.cli.program import Program, command, json_option, print_json, say
from intu_fhir.cli.text import TIME
from intu_fhir.db.delivery_report import count_deliveries
from intu_fhir.db.readonly import RefusedQuery
from intu_fhir.db.replay import ReplayFilter, replay_columns
from intu_fhir.db.reports import find_study
from intu_fhir.db.session import Database
from intu_fhir.model.work import DEAD, DELIVERED, RETRYING
from intu_fhir.observe.clock import SystemClock
from intu_fhir.pipeline.replay import Replayed, ReplaySelection, replay


def _show_columns(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo("\n".join(replay_columns()))
        ctx.exit()


@command(
    "replay",
    "intu-fhir replay --destination ehr_fhir --since 12h --dry-run",
    "intu-fhir replay --where \"last_status = '422' AND modalities LIKE '%MR%'\"",
    "intu-fhir replay --rebuild --since 7d",
)
@click.option("--study", metavar="UID", help="Of one study.")
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
@click.option("--rebuild", is_flag=True, help="Build again first: the mapping changed.")
@click.option("--force", is_flag=True, help="Send again what the destination has already.")
@click.option("--all", "everything", is_flag=True, help="Needed where nothing else is selected.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
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
    rebuild: bool,
    force: bool,
    everything: bool,
    dry_run: bool,
) -> None:
    """Put deliveries and failed steps back.

    They become due at once, with all their attempts ahead of them. Never sends again what a
    destination has, unless --force says so; never lets a held study go.
    """
    chosen = (study, destination, states, since, until, where)
    if not everything and not any(chosen):
        raise click.UsageError("select something, or say --all; --dry-run shows what it means")
    if force and rebuild:
        raise click.UsageError("--rebuild sends what changed anyway; leave --force out")
    wanted = ReplayFilter(
        study_instance_uid=study,
        destination=destination,
        states=states or None,
        since=since,
        until=until,
        by_reception=rebuild,
        where=where,
    )
    selection = ReplaySelection(wanted, rebuild=rebuild, force=force, dry_run=dry_run)
    with program.database() as database:
        _refuse_unknown(database, study, destination)
        try:
            done = replay(database, SystemClock(), selection)
        except RefusedQuery as error:
            raise click.BadParameter(str(error), param_hint="--where") from None
    if wants_json:
        print_json(done)
    else:
        _show(done)


def _refuse_unknown(database: Database, study: str | None, destination: str | None) -> None:
    """Refuse a name that nothing has: a typing mistake must not look like a job done."""
    with database.read() as connection:
        if study and find_study(connection, study) is None:
            raise click.BadParameter(f"{study} was never received", param_hint="--study")
        known = count_deliveries(connection)
    if destination and known and destination not in known:
        names = ", ".join(known)
        raise click.BadParameter(
            f"nothing was ever to be delivered to {destination}; there are: {names}",
            param_hint="--destination",
        )


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
