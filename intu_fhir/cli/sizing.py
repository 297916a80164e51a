"""``intu-fhir sizing``."""

from __future__ import annotations

from pathlib import Path

import click

from intu_fhir.cli.amount import Amount
from intu_fhir.cli.program import Program, command, console, json_option, print_json, say
from intu_fhir.cli.table import Column, show_table
from intu_fhir.cli.text import duration
from intu_fhir.sizing.figures import Figures, load_figures
from intu_fhir.sizing.simulate import Place, Result, Way, advice, simulate


@command(
    "sizing",
    "intu-fhir sizing",
    "intu-fhir sizing --studies-per-minute 100 --receivers 4 --workers 2",
    "intu-fhir sizing --figures figures.yaml",
)
@click.option(
    "--figures",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Your own figures, in YAML; what is left out has its default.",
)
@click.option("--studies-per-minute", type=Amount(above=True), metavar="N")
@click.option("--images-per-study", type=click.IntRange(1), metavar="N")
@click.option("--receivers", type=click.IntRange(1), metavar="N", help="Receiving machines.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Working machines.")
@json_option()
@click.pass_context
def sizing_command(
    ctx: click.Context,
    _program: Program,
    wants_json: bool,
    file: Path | None,
    studies_per_minute: float | None,
    images_per_study: int | None,
    receivers: int | None,
    workers: int | None,
) -> None:
    """Simulate how many machines a site needs, with your own figures.

    Nothing is received or sent. Ends with 1 where something falls behind.
    """
    figures = load_figures(file) if file else Figures()
    figures = _changed(figures, "load", studies_per_minute=studies_per_minute)
    figures = _changed(figures, "load", images_per_study=images_per_study)
    figures = _changed(figures, "receivers", machines=receivers)
    figures = _changed(figures, "workers", machines=workers)
    result = simulate(figures)
    if wants_json:
        print_json(result)
    else:
        _show(figures, result)
    ctx.exit(1 if any(place.busy > 1 for place in result.places) else 0)


def _changed(figures: Figures, section: str, **values: float | None) -> Figures:
    """Return figures in which what was given on the command line counts."""
    given = {key: value for key, value in values.items() if value is not None}
    changed = getattr(figures, section).model_copy(update=given)
    return figures.model_copy(update={section: changed})


def _show(figures: Figures, result: Result) -> None:
    say(
        f"{result.studies:,} studies with {result.images:,} images came within "
        f"{figures.minutes:g} min."
    )
    say()
    show_table(console(), result.places, _PLACES)
    say()
    show_table(console(), result.ways, _WAYS)
    say()
    say(
        f"Files of {figures.stored.files_days:g} days: {_size(result.files_bytes)}. Staging "
        f"grows by {_size(result.staging_bytes_a_year)} a year, with "
        f"{result.images_a_year:,.0f} images."
    )
    for line in advice(result):
        say(line, style="yellow")


def _size(count: float) -> str:
    for unit, one in (("TB", 1e12), ("GB", 1e9)):
        if count >= one:
            return f"{count / one:,.1f} {unit}"
    return f"{count / 1e6:,.1f} MB"


_PLACES: list[Column[Place]] = [
    Column("PLACE", lambda row: row.name, shrinks=True),
    Column("BUSY", lambda row: f"{row.busy:.0%}", right=True),
    Column("WAIT: MIDDLE", lambda row: duration(row.waits[0]), right=True),
    Column("95 %", lambda row: duration(row.waits[1]), right=True),
    Column("99 %", lambda row: duration(row.waits[2]), right=True),
    Column("LONGEST", lambda row: duration(row.waits[3]), right=True),
    Column("MOST WAITING", lambda row: row.longest_queue, right=True),
]
_WAYS: list[Column[Way]] = [
    Column("LAST IMAGE TO", lambda row: row.destination, shrinks=True),
    Column("MIDDLE", lambda row: duration(row.middle), right=True),
    Column("95 %", lambda row: duration(row.most), right=True),
    Column("99 %", lambda row: duration(row.nearly_all), right=True),
    Column("LONGEST", lambda row: duration(row.longest), right=True),
    Column("BEHIND AT THE END", lambda row: duration(row.behind * 60), right=True),
]
