"""``intu-fhir backup``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from intu_fhir.app.storing import open_folder
from intu_fhir.cli.program import Program, command, say
from intu_fhir.cli.progress import progress
from intu_fhir.db import migrate
from intu_fhir.upkeep.backup import back_up


@command("backup", "intu-fhir backup /mnt/backup/intu")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def backup_command(program: Program, folder: Path) -> None:
    """Copy database and files to FOLDER while the site runs.

    The database first, then the files, so that every row of the copy has its file there. Run it
    again on the same FOLDER: the copy of the database is replaced, files that are there stay.
    PostgreSQL needs pg_dump. The configuration is not copied. The copy holds patient data.
    """
    site = program.staging().site
    migrate.require_head(site.database)
    with (
        closing(open_folder(site)) as files,
        progress("Copying") as on_progress,
    ):
        report = back_up(site.database, files, folder, on_progress=on_progress)
    say(f"{report.database}, {report.copied} files copied, {report.there} were there")
