"""``intu-fhir prune``."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import click

from intu_fhir.app.storing import open_files
from intu_fhir.cli.amount import DAYS, Amount
from intu_fhir.cli.confirm import confirm
from intu_fhir.cli.program import (
    Program,
    command,
    json_option,
    print_json,
    say,
)
from intu_fhir.cli.progress import progress
from intu_fhir.cli.table import Column
from intu_fhir.cli.text import local_minute, zone_name
from intu_fhir.cli.would_go import show_what_would_go
from intu_fhir.db.audit import seal
from intu_fhir.db.pruning import Prunable, Pruner, PruneRule
from intu_fhir.model.audit import Actor
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.logging import configure_logging
from intu_fhir.observe.login import login
from intu_fhir.upkeep.prune import Prune, rule_of

_STATES = ("delivered", "filtered", "staged")


@command(
    "prune",
    "intu-fhir prune --older-than 90 --dry-run",
    "intu-fhir prune --older-than 365 --state delivered",
)
@click.option(
    "--older-than",
    type=Amount(most=DAYS),
    metavar="DAYS",
    help="Nothing came and nothing was delivered for so long. Default: retention.after_days.",
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(_STATES),
    help="State that a study may be in. Default: retention.states.",
)
@click.option("--unforwarded", is_flag=True, help="Images that no PACS has confirmed go as well.")
@click.option("--dry-run", is_flag=True, help="Show which studies it would be; remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option()
def prune_command(
    program: Program,
    wants_json: bool,
    older_than: float | None,
    states: tuple[str, ...],
    unforwarded: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove the image files of old studies that were delivered.

    Rows, headers and history stay, and say that the files were pruned. Never touched: what is
    not delivered, held, failed, in quarantine, being received, or asked about by storage
    commitment; and, without --unforwarded, images that no PACS has confirmed.
    """
    configure_logging(level="WARNING")  # the answer says the same
    settings = program.staging().site.retention
    if older_than is None and settings.after_days is None:
        raise click.UsageError("say how old with --older-than, or set retention.after_days")
    clock = SystemClock()
    rule = rule_of(settings, clock, older_than)
    if states:
        rule = replace(rule, states=states)
    if unforwarded:
        rule = replace(rule, only_forwarded=False)
    site = program.staging().site
    with program.database() as database, closing(open_files(site, database)) as files:
        prune = Prune(database, files, clock, Pruner(login(), Actor.PERSON))
        found = list(prune.find(rule))
        if dry_run:
            show_what_would_go(found, _columns(), _counted(found), wants_json=wants_json)
            return
        if found and not yes:
            confirm(f"Remove the files of {_counted(found)}?")
        _prune(prune, found, rule, wants_json)
        seal(database)


def _prune(prune: Prune, found: list[Prunable], rule: PruneRule, wants_json: bool) -> None:
    images = 0
    with progress("Pruning") as on_progress:
        on_progress(0, len(found))
        for study in found:
            images += prune.prune(study, rule)
            on_progress(1)
        removed = prune.remove_files()
    if wants_json:
        print_json({"studies": len(found), "images": images, "files_removed": removed})
        return
    say(f"{images} images of {len(found)} studies pruned")
    if removed is None:
        say("A backup is being made: the files are removed after it.", stderr=True)


def _counted(found: list[Prunable]) -> str:
    images, size = sum(one.images for one in found), sum(one.bytes for one in found)
    return f"{len(found)} studies ({images} images, {size / 1024**3:.1f} GiB)"


def _columns() -> list[Column[Prunable]]:
    return [
        Column(f"LAST IMAGE ({zone_name()})", lambda row: local_minute(row.last_received_at)),
        Column("IMAGES", lambda row: row.images, right=True),
        Column("MIB", lambda row: f"{row.bytes / 1024**2:.1f}", right=True),
        Column("STUDY INSTANCE UID", lambda row: row.study_instance_uid),
    ]
