"""``intu-fhir quarantine``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import click
from rich.console import Console

from intu_fhir.app.comparing import Comparison, compare_quarantined, where
from intu_fhir.app.storing import open_files
from intu_fhir.cli.auditing import tell_audit
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
from intu_fhir.db.audit import seal
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.quarantine import take_out
from intu_fhir.db.review import QuarantineRow, list_quarantine
from intu_fhir.model.audit import Action, Actor
from intu_fhir.model.counting import counted
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.login import login
from intu_fhir.stage.differing import Difference
from intu_fhir.upkeep.prune import Prune


@group(
    "quarantine",
    "intu-fhir quarantine list",
    "intu-fhir quarantine show 3",
    "intu-fhir quarantine remove 3 --reason resent",
)
def quarantine_command() -> None:
    """List, compare and remove objects that were kept but are not published."""


@quarantine_command.add_command
@command("list", "intu-fhir quarantine list --reason different_bytes")
@click.option("--reason", metavar="CODE", help="Of one reason.")
@limit_option()
@json_option()
def list_command(program: Program, wants_json: bool, reason: str | None, limit: int) -> None:
    """List objects whose bytes are kept and not published, the newest first.

    FILE is where the object is kept; in JSON it is the path below the file store.
    """
    site = program.staging().site
    with program.database() as database, database.read() as connection:
        rows = list_quarantine(connection, reason=reason, limit=limit)
    if wants_json:
        print_json(rows)
    elif rows:
        file: Column[QuarantineRow] = Column("FILE", lambda row: where(site, row.file))
        show_table(console(), rows, _columns(), below=[*_BELOW, file])
    else:
        say("Nothing is in quarantine.")


_BELOW: list[Column[QuarantineRow]] = [
    Column("STUDY INSTANCE UID", lambda row: row.study_instance_uid),
    Column("SOP INSTANCE UID", lambda row: row.sop_instance_uid),
    Column("DETAIL", lambda row: row.detail),
]


def _columns() -> list[Column[QuarantineRow]]:
    return [
        Column("OBJECT", lambda row: row.quarantine_key, right=True),
        Column(f"RECEIVED ({zone_name()})", lambda row: local_time(row.received_at)),
        Column("REASON", lambda row: row.reason),
        Column("FROM", lambda row: row.calling_ae_title or "import"),
    ]


@quarantine_command.add_command
@command("show", "intu-fhir quarantine show 3", "intu-fhir quarantine show 3 --json")
@click.argument("number", type=KEY, metavar="OBJECT")
@limit_option()
@json_option()
def show_command(program: Program, wants_json: bool, number: int, limit: int) -> None:
    """Show where an object is kept, and in what it differs from the staged one of its UID.

    OBJECT is the number that `quarantine list` shows. Each attribute that differs stands with both
    values, which may be a patient's.
    """
    site = program.staging().site
    with program.database() as database:
        with closing(open_files(site, database)) as files:
            found = compare_quarantined(site, database, files, number)
        if found is None:
            raise click.BadParameter(
                f"there is no object {number}; see `intu-fhir quarantine list`",
                param_hint="OBJECT",
            )
        studies = {found.kept.study_instance_uid, found.staged_study_instance_uid}
        for study in sorted(studies - {""}):
            tell_audit(database, Action.VIEWED, study=study, reason=f"quarantine show {number}")
    if wants_json:
        print_json(found)
    else:
        _show(console(), found, limit)


def _show(screen: Console, found: Comparison, limit: int) -> None:
    kept = found.kept
    screen.print(f"Object {kept.quarantine_key}: {clean(kept.reason)}", style="bold")
    lines = {
        "Received": f"{local_time(kept.received_at)} {zone_name()} from "
        f"{kept.calling_ae_title or 'import'}",
        "Instance": kept.sop_instance_uid,
        "Study": kept.study_instance_uid,
        "Kept": found.kept_file,
        "Staged": found.staged_file or "nothing",
    }
    if found.staged_file and found.staged_study_instance_uid != kept.study_instance_uid:
        lines["In study"] = found.staged_study_instance_uid
    for title, text in lines.items():
        screen.print(f"{title:<9} {clean(text)}")
    screen.print()
    if found.differences is None:
        screen.print(clean(f"They cannot be compared: {found.why}."))
    elif not found.differences:
        screen.print("All values are the same; they are written otherwise, as with padding.")
    else:
        _show_differences(screen, found.differences, limit)
    screen.print()
    screen.print(
        "Nothing is published from quarantine. Where it is wanted, have it sent under a UID of its "
        f"own; then `intu-fhir quarantine remove {kept.quarantine_key}`."
    )


def _show_differences(screen: Console, differences: Sequence[Difference], limit: int) -> None:
    verb = "differs" if len(differences) == 1 else "differ"
    screen.print(f"{counted(len(differences), 'attribute')} {verb}", style="bold underline")
    for one in differences[:limit]:
        screen.print(clean(f"{one.keyword} {one.tag}"))
        for title, value in (("staged", one.staged), ("kept", one.kept)):
            screen.print(f"  {title:<7} {_value(value)}")
    if len(differences) > limit:
        say(f"... and {len(differences) - limit} more; --json names all", stderr=True)


def _value(value: str | None) -> str:
    if value is None:
        return "(lacks it)"
    text = clean(value)
    return "(empty)" if not text else text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_LONGEST = 200


@quarantine_command.add_command
@command("remove", "intu-fhir quarantine remove 3 4 --reason 'resent under a new UID'")
@click.argument("objects", nargs=-1, required=True, type=KEY, metavar="OBJECT...")
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
