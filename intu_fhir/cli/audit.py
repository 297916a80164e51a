"""``intu-fhir audit``."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import click

from intu_fhir.cli.auditing import tell_audit
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
from intu_fhir.cli.text import TIME, local_time, zone_name
from intu_fhir.cli.uid import UID
from intu_fhir.cli.unknown import known_destinations, refuse_unknown_destination
from intu_fhir.db.audit import Seal
from intu_fhir.db.audit_chain import Verdict, verify
from intu_fhir.db.audit_report import AuditFilter, AuditRow, every_audit, list_audit
from intu_fhir.mappings import Release
from intu_fhir.model.audit import Action, Outcome
from intu_fhir.settings.schema import Configuration, FhirDestination

if TYPE_CHECKING:
    from intu_fhir.db.session import Database

_SEAL = re.compile(r"(\d{1,18}):([0-9a-f]{64})", re.ASCII)


@group("audit", "intu-fhir audit list --since 1d", "intu-fhir audit verify")
def audit_command() -> None:
    """Show who did what, check that nothing of it was changed, export it."""


def _filters(function: Any) -> Any:
    """Add the options that choose events."""
    for option in reversed(
        (
            click.option(
                "--action",
                "actions",
                type=click.Choice([str(action) for action in Action]),
                metavar="ACTION",
                multiple=True,
                help=f"One of: {', '.join(Action)}; may be given several times.",
            ),
            click.option("--actor", metavar="NAME", help="Who: a login, an AE title, a process."),
            click.option(
                "--study", "study_instance_uid", type=UID, metavar="UID", help="Of one study."
            ),
            click.option("--destination", metavar="NAME", help="Of one destination."),
            click.option(
                "--outcome",
                type=click.Choice([str(outcome) for outcome in Outcome]),
                metavar="OUTCOME",
                help=f"One of: {', '.join(Outcome)}.",
            ),
            click.option("--since", type=TIME, help="Happened since: 2024-03-01 or 2h."),
            click.option("--until", type=TIME, help="Happened before."),
        )
    ):
        function = option(function)
    return function


def _refuse_unknown(program: Program, database: Database, destination: str | None) -> None:
    """Refuse a destination that not even the trail knows, which remembers longest."""
    if destination is None:
        return
    with database.read() as connection:
        known = known_destinations(program, connection)
        if destination not in known and not list_audit(
            connection, AuditFilter(destination=destination), limit=1
        ):
            refuse_unknown_destination(destination, known)


def _wanted(actions: tuple[str, ...], **filters: Any) -> AuditFilter:
    return AuditFilter(actions=actions or None, **filters)


@audit_command.add_command
@command(
    "list",
    "intu-fhir audit list --action published --outcome serious --since 1d",
    "intu-fhir audit list --study 1.2.840.113619.2.1.1 --json",
)
@_filters
@limit_option()
@json_option()
def list_command(program: Program, wants_json: bool, limit: int, **filters: Any) -> None:
    """List what happened, the newest first."""
    with program.database() as database:
        _refuse_unknown(program, database, filters["destination"])
        tell_audit(database, Action.AUDIT_READ, reason="audit list")
        with database.read() as connection:
            rows = list_audit(connection, _wanted(**filters), limit=limit)
    if wants_json:
        print_json(rows)
    elif rows:
        show_table(console(), rows, _columns(), below=_BELOW)
    else:
        say("Nothing of the kind was recorded.")


_BELOW: list[Column[AuditRow]] = [
    Column("STUDY INSTANCE UID", lambda row: row.study_instance_uid),
    Column("WHY", lambda row: row.reason),
]


def _columns() -> list[Column[AuditRow]]:
    return [
        Column(f"TIME ({zone_name()})", lambda row: local_time(row.happened_at)),
        Column("ACTION", lambda row: row.action),
        Column("OUTCOME", lambda row: row.outcome, optional=True),
        Column("WHO", lambda row: row.actor, shrinks=True),
        Column("FROM", lambda row: row.address, shrinks=True, optional=True),
        Column("TO", lambda row: row.destination, shrinks=True, optional=True),
        Column("OBJECTS", lambda row: row.objects or "", right=True, optional=True),
    ]


def _seal(_ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> list[Seal]:
    found = [_SEAL.fullmatch(value) for value in values]
    if None in found:
        raise click.BadParameter("write POSITION:HASH, as the event audit_sealed of the log has it")
    return [Seal(int(one[1]), one[2]) for one in found if one]


@audit_command.add_command
@command(
    "verify",
    "intu-fhir audit verify",
    "intu-fhir audit verify --seal 4711:$(cat seal-of-last-week)",
)
@click.option(
    "--seal",
    "seals",
    multiple=True,
    callback=_seal,
    metavar="POSITION:HASH",
    help="A seal from the log (audit_sealed): also finds a cut-off end and a chain made anew.",
)
@json_option()
@click.pass_context
def verify_command(
    ctx: click.Context, program: Program, wants_json: bool, seals: list[Seal]
) -> None:
    """Check that no event was changed, removed, added or moved since it was sealed.

    Names the first one that does not fit and ends with 1. Where old events were removed, it says
    so, and from when on it vouches.
    """
    with program.database() as database:
        with database.snapshot() as connection:
            found = verify(connection, expected=seals)
        tell_audit(database, Action.AUDIT_READ, reason="audit verify")
    if wants_json:
        print_json(found)
    else:
        _show_verdict(found)
    ctx.exit(0 if found.broken_at is None else 1)


def _show_verdict(found: Verdict) -> None:
    if found.begin.until:
        say(
            f"Begins behind event {found.begin.seal.position}: what happened until "
            f"{local_time(found.begin.until)} was removed {local_time(found.begin.removed_at)}, "
            "and nothing is said of it."
        )
    if found.unchecked:
        say(f"{found.unchecked} of the seals are from before that; they could not be compared.")
    if found.broken_at is None:
        say(f"{found.events} events, none changed")
        say(f"Newest seal: {found.end.position}:{found.end.hash}")
    else:
        say(f"Broken at event {found.broken_at}: {found.why}.", style="bold red")
        say(f"{found.events} events before it are as they were sealed.")
    if found.unsealed:
        since = local_time(found.unsealed_since)
        say(f"{found.unsealed} wait to be sealed, since {since}; `serve` or `worker` does it.")


@audit_command.add_command
@command(
    "export",
    "intu-fhir audit export --format fhir --since 1d --output yesterday.ndjson",
    "intu-fhir audit export --format dicom --study 1.2.840.113619.2.1.1",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["fhir", "dicom"]),
    default="fhir",
    show_default=True,
    help="FHIR AuditEvent as NDJSON, or DICOM audit messages (PS3.15 A.5), one a line.",
)
@click.option(
    "--release",
    type=click.Choice(["r4", "r5"]),
    default="r4",
    show_default=True,
    help="FHIR release: r4 or r5.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file.")
@click.option(
    "--source",
    metavar="NAME",
    help="How this installation is called there. Default: the name of this host.",
)
@_filters
def export_command(
    program: Program,
    kind: str,
    release: str,
    output: Path | None,
    source: str | None,
    **filters: Any,
) -> None:
    """Export events for who collects audit trails, the oldest first.

    Of the patient each one has the Patient ID, as PS3.15 A.5.3 wants it, and nothing else; it
    comes from the study, the trail itself has none.
    """
    from intu_fhir.audit.dicom import audit_message
    from intu_fhir.audit.fhir import audit_event
    from intu_fhir.audit.parties import Setting
    from intu_fhir.model.canonical import canonical_json

    configuration = program.staging()
    setting = Setting(
        source or socket.gethostname(), _addresses(configuration), _systems(configuration)
    )

    def write(row: AuditRow) -> bytes:
        if kind == "dicom":
            return audit_message(row, setting)
        return canonical_json(audit_event(row, setting, cast(Release, release)))

    number = 0
    with program.database() as database:
        _refuse_unknown(program, database, filters["destination"])
        tell_audit(database, Action.AUDIT_READ, reason=f"audit export as {kind}")
        with database.snapshot() as connection, _opened(output) as file:
            for row in every_audit(connection, _wanted(**filters)):
                file.write(write(row) + b"\n")
                number += 1
    say(f"{number} events", stderr=True)


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        yield sys.stdout.buffer
    else:
        with output.open("wb") as file:
            yield file


def _addresses(configuration: Configuration) -> dict[str, str]:
    return {
        name: one.base_url if isinstance(one, FhirDestination) else one.host
        for name, one in configuration.site.destinations.items()
    }


def _systems(configuration: Configuration) -> dict[str, str]:
    patient = configuration.site.identifiers.patient
    return {"": patient.default or "", **patient.by_issuer}
