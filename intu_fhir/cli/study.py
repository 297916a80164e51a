"""``intu-fhir study``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple, TypeVar

import click
from rich.console import Console

from intu_fhir.cli.auditing import tell_audit
from intu_fhir.cli.deliveries import delivery_columns, why_column
from intu_fhir.cli.destinations import not_up
from intu_fhir.cli.program import Program, command, console, json_option, print_json
from intu_fhir.cli.table import Column, show_table, state_style
from intu_fhir.cli.text import clean, dicom_date, duration, local_time, zone_name
from intu_fhir.cli.uid import UID, refuse_study
from intu_fhir.db.destinations import DestinationRow
from intu_fhir.db.study_report import ImagesRow, ResourceRow, SeriesRow, StudyReport, study_report
from intu_fhir.db.study_states import STUDY_STATES
from intu_fhir.db.timeline import Event, timeline
from intu_fhir.model.audit import Action
from intu_fhir.model.counting import counted
from intu_fhir.model.finding import beside

R = TypeVar("R")


@command(
    "study", "intu-fhir study 1.2.840.113619.2.1.1", "intu-fhir study 1.2.840.113619.2.1.1 --json"
)
@click.argument("uid", type=UID)
@json_option()
def study_command(program: Program, uid: str, wants_json: bool) -> None:
    """Show one study: timeline, series, versions, deliveries.

    UID is its Study Instance UID. The timeline begins with the association that brought the
    first image; AFTER is the time since the event before.
    """
    with program.database() as database:
        with database.read() as connection:
            report = study_report(connection, uid)
            if report is None:
                refuse_study(connection, uid, "UID")
            names = [row.destination for row in report.deliveries]
            kept = not_up(connection, names)
        tell_audit(database, Action.VIEWED, study=uid, reason="study")
    if wants_json:
        print_json(asdict(report) | {"timeline": timeline(report)})
        return
    _show(console(), report, kept)


def _show(screen: Console, report: StudyReport, kept: Mapping[str, DestinationRow]) -> None:
    _show_head(screen, report)
    _section(screen, "Series", report.series, _SERIES, [_SERIES_UID])
    _section(screen, "Timeline", timeline(report), _timeline_columns(), [_EVENT_DETAIL])
    _section(screen, "Built", report.resources, _BUILT)
    findings = Counter(
        _Remark(row.release.upper(), *(finding.get(key, "") for key in _REMARK_KEYS))
        for row in report.resources[-2:]
        for finding in row.findings
    )
    _section(screen, "Findings", list(findings.items()), _FINDINGS, [_FINDING])
    columns, why = delivery_columns(kept), why_column(kept)
    _section(screen, "Deliveries", report.deliveries, columns, [why])
    _section(screen, "Images at archives", report.images, _IMAGES)


def _show_head(screen: Console, report: StudyReport) -> None:
    study = report.study
    screen.print(f"Study {clean(study.study_instance_uid)}", style="bold")
    lines = {
        "State": f"{study.state} ({STUDY_STATES[study.state]})",
        "Next": _next(study.state, study.study_instance_uid),
        "Patient": " ".join(part for part in (study.patient_id, study.patient_name) if part),
        "Study": " ".join(
            part for part in (dicom_date(study.study_date), study.study_description) if part
        ),
        "Accession": study.accession_number,
        "Content": f"{study.number_of_series} series, "
        f"{counted(study.number_of_instances, 'instance')}, "
        f"generation {study.generation}",
        "Headers": _headers(report),
        "Tries": _tries(report),
        "From": ", ".join(study.calling_ae_titles),
        "Channel": study.channel,
    }
    for title, text in lines.items():
        if text:
            style = state_style(study.state) if title == "State" else None
            screen.print(f"{title:<10} {clean(text)}", style=style)
    for one in report.cut:
        screen.print(one.words, style="yellow")
    for step in report.work:
        if step.last_error:
            screen.print(f"{step.step:<10} {step.state}: {clean(step.last_error)}", style="red")


_NEXT = {"held": "holds list", "failed": "replay"}


def _next(state: str, uid: str) -> str:
    """Return the command that a study waits for, ready to be pasted."""
    return f"intu-fhir {_NEXT[state]} --study {uid}" if state in _NEXT else ""


def _headers(report: StudyReport) -> str:
    if not report.headers_removed:
        return ""
    return f"complete headers of {counted(report.headers_removed, 'instance')} removed by retention"


def _tries(report: StudyReport) -> str:
    if report.tries_removed_until is None:
        return ""
    return f"those until {local_time(report.tries_removed_until)} were removed by retention"


def _section(
    screen: Console,
    title: str,
    rows: Sequence[R],
    columns: Sequence[Column[R]],
    below: Sequence[Column[R]] = (),
) -> None:
    if rows:
        screen.print()
        screen.print(title, style="bold underline")
        show_table(screen, rows, columns, below=below)


_SERIES: list[Column[SeriesRow]] = [
    Column("NUMBER", lambda row: row.series_number, right=True),
    Column("MODALITY", lambda row: row.modality),
    Column("IMAGES", lambda row: row.number_of_instances, right=True),
    Column("BODY PART", lambda row: row.body_part_examined, shrinks=True, optional=True),
    Column("DESCRIPTION", lambda row: row.series_description, shrinks=True),
]
_SERIES_UID: Column[SeriesRow] = Column("SERIES INSTANCE UID", lambda row: row.series_instance_uid)

_BUILT: list[Column[ResourceRow]] = [
    Column("GENERATION", lambda row: row.generation, right=True),
    Column("RELEASE", lambda row: row.release.upper()),
    Column("STATE", lambda row: row.state, style=state_style),
    Column("BUILT", lambda row: local_time(row.built_at)),
    Column("MAPPING", lambda row: row.mapping_version, shrinks=True),
    Column("CHANNEL", lambda row: row.channel, shrinks=True, optional=True),
    Column("FINDINGS", lambda row: len(row.findings), right=True),
]
_REMARK_KEYS = ("severity", "code", "attribute", "message")


class _Remark(NamedTuple):
    """A finding, as it may be true of many series or instances."""

    release: str
    severity: str
    code: str
    attribute: str
    message: str


_FINDINGS: list[Column[tuple[_Remark, int]]] = [
    Column("RELEASE", lambda row: row[0].release),
    Column("SEVERITY", lambda row: row[0].severity),
    Column("TIMES", lambda row: row[1], right=True),
    Column("CODE", lambda row: row[0].code, shrinks=True),
    Column("AT", lambda row: row[0].attribute, shrinks=True),
]
_FINDING: Column[tuple[_Remark, int]] = Column(
    "MESSAGE", lambda row: beside(row[0].message, row[0].attribute)
)

_IMAGES: list[Column[ImagesRow]] = [
    Column("DESTINATION", lambda row: row.destination),
    Column("STATUS", lambda row: row.status),
    Column("TAKEN", lambda row: "yes" if row.delivered else "no"),
    Column("DECOMPRESSED TO", lambda row: row.transcoded_to, optional=True),
    Column("IMAGES", lambda row: row.instances, right=True),
    Column("PROMISED", lambda row: row.committed or "", right=True, optional=True),
]


def _timeline_columns() -> list[Column[Event]]:
    return [
        Column(f"TIME ({zone_name()})", lambda event: local_time(event.at)),
        Column("AFTER", lambda event: duration(event.since_previous), right=True),
        Column("STEP", lambda event: event.step),
        Column("EVENT", lambda event: event.what, shrinks=True),
        Column("TOOK", lambda event: duration(event.seconds), right=True),
    ]


_EVENT_DETAIL: Column[Event] = Column("DETAIL", lambda event: event.detail)
