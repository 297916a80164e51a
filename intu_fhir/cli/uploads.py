"""``intu-fhir uploads``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from intu_fhir.cli.confirm import confirm
from intu_fhir.cli.program import (
    Program,
    command,
    console,
    group,
    json_option,
    print_json,
    say,
)
from intu_fhir.cli.table import Column, show_table
from intu_fhir.cli.text import local_time, zone_name
from intu_fhir.db.uploads import WaitingSpool, waiting_in, waiting_spools
from intu_fhir.errors import ConfigurationError, StoreUnavailable
from intu_fhir.files.spools import NAME_FILE
from intu_fhir.observe.clock import SystemClock

if TYPE_CHECKING:
    from intu_fhir.settings.schema import Configuration


@group("uploads", "intu-fhir uploads list")
def uploads_command() -> None:
    """Show and move files on their way to the object store."""


@uploads_command.add_command
@command("list", "intu-fhir uploads list")
@json_option()
def list_command(program: Program, wants_json: bool) -> None:
    """List the spools in which files wait for their upload.

    A spool is a folder of one machine. Its files can be read elsewhere once they are uploaded.
    """
    with program.database() as database, database.read() as connection:
        rows = waiting_spools(connection)
    if wants_json:
        print_json(rows)
    elif rows:
        show_table(console(), rows, _columns(), below=_BELOW)
    else:
        say("No file waits for its upload.")


@uploads_command.add_command
@command("run", "intu-fhir uploads run")
def run_command(program: Program) -> None:
    """Upload what waits in the spool of this machine, and end.

    `serve` and `receive` do so all the time; this is for a machine that receives no more.
    """
    from intu_fhir.app.wiring import open_app

    app = open_app(_with_object_store(program))
    assert app.uploader is not None
    done = 0
    with console(stderr=True).status("uploading") as status:
        while some := app.uploader.upload_some():
            done += some
            status.update(f"{done} uploaded")
        left = app.uploader.waiting()
    app.close()
    say(f"{done} uploaded.")
    if left:
        raise StoreUnavailable(
            f"{left} files still wait; see `intu-fhir uploads list` for the reason"
        )


@uploads_command.add_command
@command("adopt", "intu-fhir uploads adopt")
def adopt_command(program: Program) -> None:
    """Note every file of a local file store for upload; safe to repeat.

    For a site that goes from a folder to an object store: set `files: s3://bucket/prefix` and
    make the old folder `object_store.spool`. Files stay readable all the while; `serve`,
    `receive` or `uploads run` uploads them.
    """
    from intu_fhir.app.spooling import adopt_files

    folder = _with_object_store(program).site.files_folder
    with program.database() as database, console(stderr=True).status("noting") as status:
        noted = adopt_files(
            database,
            folder,
            SystemClock().now(),
            on_progress=lambda count: status.update(f"{count} noted"),
        )
    say(f"{noted} files of {folder} are noted for upload.")


@uploads_command.add_command
@command("lost", "intu-fhir uploads lost ct-room-2-8f3a01bc")
@click.argument("spool")
@click.option("--yes", is_flag=True, help="Do not ask.")
def lost_command(program: Program, spool: str, yes: bool) -> None:
    """Declare what waits in a spool lost for good: its disk is gone.

    `uploads list` names SPOOL. The images show in `v_failures` from then on, studies and PACS wait
    for them no more, and they are taken again when their modality sends them again, which they are
    without this command too. Should the disk turn up after all, make it a spool again and run
    `uploads adopt`.
    """
    from intu_fhir.app.spooling import lose_spool

    folder = _with_object_store(program).site.files_folder
    if _is_here(folder, spool):
        raise click.UsageError(f"the spool {spool} is {folder}; run `intu-fhir uploads run`")
    with program.database() as database:
        with database.read() as connection:
            waiting = waiting_in(connection, spool)
        if not waiting:
            raise click.UsageError(
                f"no file waits in a spool {spool}; `intu-fhir uploads list` names those that hold "
                "some"
            )
        if not yes:
            confirm(f"Give up {waiting} files that only {spool} has?")
        images, others = lose_spool(database, spool, SystemClock().now())
    say(f"{images} images are lost; have them sent again. {others} other files were given up.")


def _is_here(folder: Path, spool: str) -> bool:
    name = folder / NAME_FILE
    return name.exists() and name.read_text("ascii", "replace").strip() == spool


def _with_object_store(program: Program) -> Configuration:
    configuration = program.staging()
    if isinstance(configuration.site.files, Path):
        raise ConfigurationError(
            "a folder, so nothing is uploaded; write files: s3://bucket/prefix",
            file=str(configuration.folder),
            key="files",
        )
    return configuration


_BELOW: list[Column[WaitingSpool]] = [Column("LAST ERROR", lambda row: row.last_error)]


def _columns() -> list[Column[WaitingSpool]]:
    return [
        Column("SPOOL", lambda row: row.spool),
        Column("FILES", lambda row: str(row.files)),
        Column("FAILING", lambda row: str(row.failing)),
        Column(f"SINCE ({zone_name()})", lambda row: local_time(row.due_since)),
    ]
