"""``intu-fhir demo``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from intu_fhir.cli.program import Program, command, console, json_option, print_json, say
from intu_fhir.cli.table import Column, show_table, state_style
from intu_fhir.cli.text import clean
from intu_fhir.demo.run import DemoResult, Progress, StudyResult, run_demo
from intu_fhir.demo.samples import sample_files
from intu_fhir.model.work import HELD
from intu_fhir.observe.logging import configure_logging
from intu_fhir.settings.web import Web

_MOST_NAMED, _MOST_REASONS = 3, 10


@command("demo", "intu-fhir demo", "intu-fhir demo ~/my-dicom-files --release r5")
@click.argument(
    "paths", nargs=-1, type=click.Path(path_type=Path, exists=True), metavar="[PATH]..."
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("intu-demo"),
    show_default=True,
    help="Where everything is left to be looked at; an earlier demo there is replaced.",
)
@click.option(
    "--release",
    type=click.Choice(["r4", "r5"]),
    metavar="RELEASE",
    default="r4",
    show_default=True,
    help="FHIR release of the stand-in EHR: r4 or r5.",
)
@json_option()
@click.pass_context
def demo_command(
    ctx: click.Context,
    _program: Program,
    wants_json: bool,
    paths: tuple[Path, ...],
    folder: Path,
    release: str,
) -> None:
    """Show the whole way with a stand-in EHR and PACS.

    Sends sample studies, or your own files, over a real association on this machine. Nothing
    leaves it. Ends with 1 where a study did not reach both stand-ins.
    """
    configure_logging(level="ERROR")
    with _bar() as on_progress:
        result = run_demo(paths or sample_files(), folder, release=release, on_progress=on_progress)
    if wants_json:
        print_json(result)
    else:
        _show(result)
    ctx.exit(0 if result.complete and result.studies else 1)


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with ProgressBar(*columns, TimeElapsedColumn(), console=console(stderr=True)) as bar:
        tasks = {}

        def on_progress(progress: Progress) -> None:
            if progress.doing not in tasks:
                tasks[progress.doing] = bar.add_task(progress.doing, total=progress.total)
            bar.update(tasks[progress.doing], completed=progress.done, total=progress.total)

        yield on_progress


_COLUMNS: list[Column[StudyResult]] = [
    Column("STATE", lambda row: row.study.state, style=state_style),
    Column("PATIENT ID", lambda row: row.study.patient_id, shrinks=True),
    Column("MOD", lambda row: ",".join(row.study.modalities), shrinks=True),
    Column("SERIES", lambda row: row.study.number_of_series, right=True),
    Column("IMAGES", lambda row: row.study.number_of_instances, right=True),
    Column("AT PACS", lambda row: row.images_at_pacs, right=True),
    Column("IMAGINGSTUDY", lambda row: row.imaging_study_id, shrinks=True),
    Column("VERSION", lambda row: row.version, right=True),
]
_BELOW: list[Column[StudyResult]] = [
    Column("STUDY INSTANCE UID", lambda row: row.study.study_instance_uid)
]


def _show(result: DemoResult) -> None:
    say()
    if result.studies:
        show_table(console(), result.studies, _COLUMNS, below=_BELOW)
        say()
    _name_some("skipped", result.sent.skipped)
    _name_some("refused", result.sent.refused)
    if result.sent.problem:
        say(clean(result.sent.problem), stderr=True)
    folder = result.folder
    if not result.studies:
        say("No study was sent: name DICOM files, folders, archives or media.", stderr=True)
        return
    say(f"{len(result.studies)} studies in {result.seconds:.1f} s. Look at them:")
    say(f"  intu-fhir web --config {folder}   # http://127.0.0.1:{Web().port}")
    say(f"  intu-fhir studies --config {folder}")
    query = "SELECT destination, state, count(*) FROM deliveries GROUP BY 1, 2"
    say(f"  intu-fhir sql --config {folder} '{query}'")
    say(f"  {folder / 'ehr'} holds the resources, {folder / 'pacs'} the images")
    if any(row.study.state == HELD for row in result.studies):
        say(f"Held studies wait for a decision: intu-fhir holds list --config {folder}")


def _name_some(what: str, named: Sequence[tuple[str, str]]) -> None:
    """Say what was left out and why, each reason once, so that the table stays in sight."""
    reasons = Counter(reason for _, reason in named)
    for reason, number in reasons.most_common(_MOST_REASONS):
        names = dict.fromkeys(clean(name) for name, why in named if why == reason)
        such = ", such as " if len(names) > _MOST_NAMED else ": "
        count = f"{number} objects{such}" if number > 1 else ""
        some = ", ".join(list(names)[:_MOST_NAMED])
        say(f"{what}: {count}{some} ({clean(reason)})", stderr=True)
    if len(reasons) > _MOST_REASONS or len(named) > len(reasons) * _MOST_NAMED:
        say(f"--json names all that was {what}", stderr=True)
