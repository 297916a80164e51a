"""``intu-fhir init``."""

from __future__ import annotations

from pathlib import Path

import click

from intu_fhir.cli.program import examples, say
from intu_fhir.settings.starter import write_starter


@click.command("init", epilog=examples("intu-fhir init my-site"))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
def init_command(folder: Path) -> None:
    """Write a commented starter configuration.

    It works as it stands: `check` accepts it and `serve` receives on port 4104. Files that are
    there already are never touched.
    """
    try:
        started = write_starter(folder)
    except OSError as error:
        raise click.ClickException(f"{folder} cannot be written to: {error.strerror}") from None
    for path in started.written:
        say(f"written  {path}")
    for path in started.kept:
        say(f"kept     {path} (it was there already)")
    where = "" if folder == Path() else f"cd {folder} && "
    say(f"Next: {where}intu-fhir check")
