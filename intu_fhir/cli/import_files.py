"""``intu-fhir import``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from intu_fhir.app.importing import import_paths
from intu_fhir.app.wiring import open_app
from intu_fhir.cli.program import Program, command, console, json_option, print_json, say
from intu_fhir.cli.text import clean
from intu_fhir.observe.logging import configure_logging
from intu_fhir.stage.import_files import Imported, ImportReport, Result

_MOST_OF_A_KIND = 10
_WORDS = {
    Result.STORED: "stored",
    Result.ALREADY_STORED: "already there",
    Result.DUPLICATE: "twice in this import",
    Result.QUARANTINED: "quarantined",
    Result.REFUSED: "refused",
    Result.NOT_DICOM: "not DICOM",
    Result.MISSING: "missing on its media",
}
_BAD = (Result.REFUSED, Result.QUARANTINED, Result.MISSING)


@command(
    "import",
    "intu-fhir import /media/cdrom",
    "intu-fhir import old-archive/ study.zip --channel radiology-ingest",
)
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH...",
)
@click.option("--channel", metavar="ID", help="Whose settings count, where there are several.")
@json_option()
@click.pass_context
def import_command(
    ctx: click.Context,
    program: Program,
    wants_json: bool,
    paths: tuple[Path, ...],
    channel: str | None,
) -> None:
    """Stage files, folders, DICOMDIR media and zip archives.

    They go the same way as images from the network; a running `serve` or `worker` publishes
    them. Safe to run twice. Ends with 1 where something was refused, quarantined or missing.
    """
    configure_logging(level="WARNING")
    app = open_app(program.staging())
    try:
        with _progress() as on_progress:
            report = import_paths(app, paths, channel=channel, on_progress=on_progress)
    finally:
        app.rows.stop()
        app.close()
    if wants_json:
        print_json(_as_json(report))
    else:
        show_import(report)
    ctx.exit(1 if any(report.counts[result] for result in _BAD) else 0)


@contextmanager
def _progress() -> Iterator[Callable[[Imported], None]]:
    """Count on a terminal what was looked at; how much there is shows only at the end."""
    counts: Counter[Result] = Counter()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("Looking", total=None)

        def on_progress(imported: Imported) -> None:
            counts[imported.result] += 1
            progress.update(task, description=_counted(counts), advance=1)

        yield on_progress


def _counted(counts: Counter[Result]) -> str:
    return ", ".join(f"{counts[result]} {_WORDS[result]}" for result in Result if counts[result])


def _as_json(report: ImportReport) -> dict[str, object]:
    return {
        "total": report.total,
        "counts": {str(result): count for result, count in report.counts.items()},
        "problems": report.problems,
        "findings": [finding.as_dict() for finding in report.findings],
    }


def show_import(report: ImportReport) -> None:
    """Show what became of everything that was found."""
    for result, count in report.counts.items():
        if count:
            say(f"{count:>8}  {_WORDS[result]}")
    say(f"{report.total:>8}  in all")
    # What is not DICOM comes last: few need to see it.
    for result in (*_BAD, *(result for result in Result if result not in _BAD)):
        _show_problems(result, [one for one in report.problems if one.result == result])


def _show_problems(result: Result, problems: Sequence[Imported]) -> None:
    """Name some of each kind, so that the many of one do not hide the few of another."""
    for problem in problems[:_MOST_OF_A_KIND]:
        say(f"{_WORDS[result]}: {clean(problem.name)}{_why(problem)}", stderr=True)
    if more := len(problems[_MOST_OF_A_KIND:]):
        say(f"... and {more} more {_WORDS[result]}; --json names all", stderr=True)


def _why(problem: Imported) -> str:
    reason = "" if problem.reason == problem.result else problem.reason
    why = ": ".join(part for part in (reason, problem.detail) if part)
    return f" ({clean(why)})" if why else ""
