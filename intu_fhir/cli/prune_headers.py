"""``intu-fhir prune-headers``."""

from __future__ import annotations

from datetime import datetime

import click

from intu_fhir.cli.program import Program, command, json_option, print_json, say
from intu_fhir.cli.progress import progress
from intu_fhir.cli.table import Column
from intu_fhir.cli.text import local_minute, zone_name
from intu_fhir.cli.would_go import show_what_would_go
from intu_fhir.db.audit import seal
from intu_fhir.db.old_headers import OldHeaders
from intu_fhir.db.pruning import Pruner
from intu_fhir.model.audit import Actor
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.logging import configure_logging
from intu_fhir.observe.login import login
from intu_fhir.upkeep.headers import OldHeadersRemoval, before_of


@command(
    "prune-headers",
    "intu-fhir prune-headers --older-than 1095 --dry-run",
    "intu-fhir prune-headers --older-than 1095",
)
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="All instances came so long ago. Default: retention.headers_days.",
)
@click.option("--dry-run", is_flag=True, help="Show what it would be; remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option()
def prune_headers_command(
    program: Program, wants_json: bool, older_than: float | None, dry_run: bool, yes: bool
) -> None:
    """Remove the complete headers of old instances from the database.

    They go by ranges of keys, on PostgreSQL by whole parts of the table. A range stays while any
    of its studies is not delivered, held, failed, being received, or waits for storage
    commitment; KEPT BY names such a study. Rows, files, key object selections and what was
    published stay.
    """
    configure_logging(level="WARNING")  # the answer says the same
    days = older_than if older_than is not None else program.staging().site.retention.headers_days
    if days is None:
        raise click.UsageError("say how old with --older-than, or set retention.headers_days")
    clock = SystemClock()
    before = before_of(clock, days)
    with program.database() as database:
        removal = OldHeadersRemoval(database, clock, Pruner(login(), Actor.PERSON))
        found = list(removal.find(before))
        going = [one for one in found if not one.kept_by]
        if dry_run:
            show_what_would_go(found, _columns(), _counted(going), wants_json=wants_json)
            return
        if going and not yes:
            click.confirm(f"Remove {_counted(going)}?", abort=True)
        try:
            removed = _remove(removal, going, before)
        finally:
            seal(database)
    _tell(removed, len(found) - len(going), wants_json)


def _remove(removal: OldHeadersRemoval, going: list[OldHeaders], before: datetime) -> int:
    """Return how many headers went.

    Raises:
        StoreUnavailable: somebody reads a range for longer; those before it are gone.
    """
    removed = 0
    with progress("Removing headers") as on_progress:
        on_progress(0, len(going))
        for one in going:
            gone = removal.empty(one.span, before)
            removed += gone.headers if gone and not gone.kept_by else 0
            on_progress(1)
    return removed


def _tell(removed: int, kept: int, wants_json: bool) -> None:
    if wants_json:
        print_json({"headers": removed, "ranges_kept": kept})
        return
    say(f"{removed} complete headers removed")
    if kept:
        say(f"{kept} ranges are kept; --dry-run names by which studies", stderr=True)


def _counted(going: list[OldHeaders]) -> str:
    size = sum(one.bytes or 0 for one in going)
    parts = f" ({size / 1024**3:.1f} GiB)" if size else ""
    return f"{sum(one.headers for one in going)} complete headers{parts}"


def _columns() -> list[Column[OldHeaders]]:
    return [
        Column(f"NEWEST ({zone_name()})", lambda row: local_minute(row.newest_at)),
        Column("FROM KEY", lambda row: row.span.first, right=True),
        Column("TO KEY", lambda row: row.span.end - 1, right=True),
        Column("HEADERS", lambda row: row.headers, right=True),
        Column("MIB", lambda row: f"{row.bytes / 1024**2:.1f}" if row.bytes else "", right=True),
        Column("KEPT BY", lambda row: row.kept_by[0] if row.kept_by else ""),
    ]
