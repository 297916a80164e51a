"""``intu-fhir files``."""

from __future__ import annotations

from contextlib import closing

import click

from intu_fhir.app.adopting import PART, adopt_files
from intu_fhir.app.storing import begin_anew, open_files
from intu_fhir.app.wiring import App, open_app
from intu_fhir.cli.import_files import show_import
from intu_fhir.cli.program import Program, command, group, json_option, print_json, say
from intu_fhir.cli.progress import progress
from intu_fhir.cli.text import clean
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.logging import configure_logging
from intu_fhir.upkeep.verify import LOCKED, WITHHELD, Verifier, VerifyReport

_MOST = 20
_REMEDIES = {
    LOCKED: "Locked: add the key file they were sealed with to object_store.key_files.",
    WITHHELD: "Withheld: see that the key of the object store may read them, or this user the "
    "files, and that the system has open files and memory left; check again.",
}
"""For faults that say nothing of the bytes."""


@group("files", "intu-fhir files verify", "intu-fhir files adopt")
def files_command() -> None:
    """Hold the file store against the database."""


@files_command.add_command
@command("verify", "intu-fhir files verify", "intu-fhir files verify --quick --json")
@click.option(
    "--quick",
    is_flag=True,
    help="Look whether files are there; read only those that are noted as damaged.",
)
@json_option()
@click.pass_context
def verify_command(ctx: click.Context, program: Program, wants_json: bool, quick: bool) -> None:
    """Read every stored file and compare it with what was received.

    Finds files that are missing or damaged, and files that no row speaks of. What is wrong is
    noted: it shows in `v_failures`, no PACS gets it, and the image is taken again when it is
    sent again. Ends with 1 where something is wrong. May run while images arrive.

    Objects of an object store are read from there, and what still waits for its upload from the
    spool of this machine.
    """
    configure_logging(level="CRITICAL")  # the log's lines would say the same once more
    with (
        program.database() as database,
        closing(open_files(program.staging().site, database)) as files,
        progress("Checking") as on_progress,
    ):
        verifier = Verifier(database, files, SystemClock(), not quick, on_progress)
        on_progress(0, verifier.total())
        report = verifier.run()
    if wants_json:
        print_json(report)
    else:
        _show(report)
    ctx.exit(0 if report.good else 1)


@files_command.add_command
@command("adopt", "intu-fhir files adopt")
@click.option("--channel", metavar="ID", help="Whose settings count, where there are several.")
@click.pass_context
def adopt_command(ctx: click.Context, program: Program, channel: str | None) -> None:
    """Stage the files of the store that no row speaks of.

    For the time after a restore: they came after the copy of the database. They are staged as
    `import` does it, then removed under their old name. Stop `serve` first: nothing is adopted
    while somebody writes there. With an object store, run it on each machine that has a spool.
    """
    configure_logging(level="WARNING")
    app = open_app(program.staging())
    try:
        ctx.exit(_adopt(app, channel))
    finally:
        app.rows.stop()
        app.close()


@files_command.add_command
@command("begin-anew", "intu-fhir files begin-anew")
def begin_anew_command(program: Program) -> None:
    """Let the folder of the files be the file store, although the database knows another one.

    For the time after a loss: nothing starts on an empty folder, since the disk of the file store
    may only not be mounted, or on the store of another database. Where the files are gone for
    good, run this, then `files verify`, which notes each image that is missing, so that it is
    taken again when it is sent again.
    """
    site = program.staging().site
    with program.database() as database:
        folder = begin_anew(site, database)
    say(f"{folder} is the file store now; go on with `intu-fhir files verify`.")


def _adopt(app: App, channel: str | None) -> int:
    names = Verifier(app.database, app.files, app.clock).without_row()
    mine = [name for name in names if name.startswith(PART)]
    if not mine:
        say("Every file has its row.")
        return 0
    report = adopt_files(app, mine, channel=channel)
    show_import(report)
    return 1 if report.problems else 0


def _show(report: VerifyReport) -> None:
    checked = report.checked - report.elsewhere
    say(f"{checked} files checked, {len(report.faults)} with a fault")
    if report.elsewhere:
        say(
            f"{report.elsewhere} files wait in the spools of other machines and were not checked: "
            "see `intu-fhir uploads list`"
        )
    for fault in report.faults[:_MOST]:
        say(f"{fault.what}: {clean(fault.sop_instance_uid)} in {clean(fault.file)}", stderr=True)
    for name in report.without_row[:_MOST]:
        say(f"without a row: {clean(name)}", stderr=True)
    more = max(len(report.faults) - _MOST, 0) + max(len(report.without_row) - _MOST, 0)
    if more:
        say(f"... and {more} more; --json names all", stderr=True)
    kinds = {fault.what for fault in report.faults}
    for what in kinds & _REMEDIES.keys():
        say(_REMEDIES[what], stderr=True)
    if kinds - _REMEDIES.keys():
        say("Restore them from a backup, or have the images sent again.", stderr=True)
    if report.without_row:
        say(
            "Files without a row are being received just now, or came after the database was "
            "copied: see `intu-fhir files adopt --help`.",
            stderr=True,
        )
