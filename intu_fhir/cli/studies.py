"""``intu-fhir studies``."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import click

from intu_fhir.cli.auditing import tell_audit
from intu_fhir.cli.program import (
    Program,
    command,
    console,
    json_option,
    limit_option,
    print_json,
    say,
)
from intu_fhir.cli.table import Column, show_table, state_style
from intu_fhir.cli.text import TIME, dicom_date, local_minute, zone_name
from intu_fhir.cli.uid import UID, known_study
from intu_fhir.cli.unknown import refuse_unknown
from intu_fhir.db.reports import StudyFilter, StudyRow, list_studies, place_of
from intu_fhir.db.session import Database
from intu_fhir.db.study_search import Place
from intu_fhir.db.study_states import STUDY_STATES
from intu_fhir.model.audit import Action

_DATE = click.DateTime(["%Y-%m-%d", "%Y%m%d"])


def study_columns() -> list[Column[StudyRow]]:
    """Return what a list of studies shows."""
    return [
        Column("STATE", lambda row: row.state, style=state_style),
        Column(f"RECEIVED ({zone_name()})", lambda row: local_minute(row.last_received_at)),
        Column("PATIENT ID", lambda row: row.patient_id, shrinks=True),
        Column("NAME", lambda row: row.patient_name, shrinks=True),
        Column("ACCESSION", lambda row: row.accession_number, shrinks=True, optional=True),
        Column("DATE", lambda row: dicom_date(row.study_date), optional=True),
        Column("MOD", lambda row: ",".join(row.modalities), shrinks=True),
        Column("SERIES", lambda row: row.number_of_series, right=True, optional=True),
        Column("IMAGES", lambda row: row.number_of_instances, right=True),
        Column("SENT", _sent, right=True),
    ]


_BELOW: list[Column[StudyRow]] = [Column("STUDY INSTANCE UID", lambda row: row.study_instance_uid)]


def _sent(row: StudyRow) -> str:
    return f"{row.delivered}/{row.deliveries}" if row.deliveries else "-"


@command(
    "studies",
    "intu-fhir studies --state failed --since 1d",
    "intu-fhir studies --patient-name 'Smith*' --modality CT --json",
)
@click.option("--patient-id", metavar="ID", help="Exact, or with * and ?.")
@click.option(
    "--patient-name",
    metavar="NAME",
    help="Part of the name as received, or with * and ?; the page and the API take its beginning.",
)
@click.option("--accession", "accession_number", metavar="NUMBER", help="Exact, or with * and ?.")
@click.option("--modality", metavar="CODE", help="Of one of the series, such as CT.")
@click.option(
    "--state",
    type=click.Choice(list(STUDY_STATES)),
    metavar="STATE",
    help="One of: " + ", ".join(STUDY_STATES),
)
@click.option("--channel", metavar="ID", help="Channel of the first image.")
@click.option("--calling-ae", "calling_ae_title", metavar="TITLE", help="Who sent it.")
@click.option("--destination", metavar="NAME", help="Studies that go there.")
@click.option(
    "--date-from",
    "study_date_from",
    type=_DATE,
    metavar="DATE",
    help="First Study Date: 2024-03-01.",
)
@click.option("--date-to", "study_date_to", type=_DATE, metavar="DATE", help="Study Date.")
@click.option("--since", "received_from", type=TIME, help="Received since: 2024-03-01 or 2h.")
@click.option("--until", "received_to", type=TIME, help="Received before.")
@click.option(
    "--after", type=UID, metavar="UID", help="Next page: the last study of the page before."
)
@limit_option()
@json_option()
def studies_command(
    program: Program, wants_json: bool, after: str | None, limit: int, **filters: Any
) -> None:
    """List studies.

    The study that received last comes first; in a list by Study Date, the newest date. SENT
    counts the destinations that have the newest version.
    """
    for name in ("study_date_from", "study_date_to"):
        day: datetime | None = filters[name]
        filters[name] = day.date() if day else None
    with program.database() as database:
        with database.read() as connection:
            refuse_unknown(program, connection, filters["destination"])
        wanted = StudyFilter(**filters, limit=limit)
        wanted = replace(wanted, after=_position(database, wanted, after))
        with database.read() as connection:
            rows = list_studies(connection, wanted)
        tell_audit(database, Action.QUERIED, objects=len(rows), reason="studies")
    if wants_json:
        print_json(rows)
        return
    _show(rows, limit)


def _position(database: Database, wanted: StudyFilter, after: str | None) -> Place | None:
    if after is None:
        return None
    with database.read() as connection:
        row = known_study(connection, after, "--after")
    return place_of(wanted, row.study_date, row.last_received_at, row.study_key)


def _show(rows: list[StudyRow], limit: int) -> None:
    if not rows:
        say("No study matches.")
        return
    show_table(console(), rows, study_columns(), below=_BELOW)
    if len(rows) == limit:
        say(f"The newest {limit}; next: --after {rows[-1].study_instance_uid}", stderr=True)
