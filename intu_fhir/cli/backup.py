"""``intu-fhir backup``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from intu_fhir.app.storing import open_files
from intu_fhir.cli.program import Program, command, say
from intu_fhir.cli.progress import progress
from intu_fhir.db import migrate
from intu_fhir.upkeep.backup import BackupReport, back_up


@command("backup", "intu-fhir backup /mnt/backup/intu")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def backup_command(program: Program, folder: Path) -> None:
    """Copy database and files to FOLDER while the site runs.

    The database first, then the files, so that every row of the copy has its file there. Run it
    again on the same FOLDER: the copy of the database is replaced, files that are there stay.
    PostgreSQL needs pg_dump. The configuration is not copied. The copy holds patient data.

    With an object store, what waits in the spool of this machine is copied, and objects.csv names
    all files that the database speaks of. The bucket is not copied: version or replicate it.
    """
    site = program.staging().site
    migrate.require_fit(site.database)
    with (
        program.database() as database,
        closing(open_files(site, database)) as files,
        progress("Copying") as on_progress,
    ):
        report = back_up(site.database, files, folder, on_progress=on_progress)
    say(f"{report.database}, {report.copied} files copied, {report.there} were there")
    if not isinstance(site.files, Path):
        _say_of_bucket(report, site.files)


def _say_of_bucket(report: BackupReport, url: str) -> None:
    say(
        f"{report.objects.get('', 0)} objects of {url} belong to it (objects.csv) and are not "
        "copied: the bucket has to be versioned or replicated"
    )
    if report.elsewhere:
        say(
            f"{report.elsewhere} files wait in the spools of other machines; run backup there, "
            "each to a folder of its own",
            stderr=True,
        )
