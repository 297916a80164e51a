"""``intu-fhir settle``."""

from __future__ import annotations

import click

from intu_fhir.cli.program import Program, command, say
from intu_fhir.cli.uid import UID, known_study
from intu_fhir.db.audit import seal
from intu_fhir.db.studies import request_settling
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.login import login


@command("settle", "intu-fhir settle 1.2.840.113619.2.1.1")
@click.argument("uid", type=UID)
@click.option("--by", metavar="NAME", help="Who says so. Default: the user who is logged in.")
def settle_command(program: Program, uid: str, by: str | None) -> None:
    """Count a study as complete now.

    UID is its Study Instance UID. The study is published without waiting for its quiet time;
    who said so is recorded as the evidence.
    """
    name = (by or login())[:64]
    with program.database() as database:
        with database.write() as connection:
            known_study(connection, uid, "UID")
            asked = request_settling(connection, uid, by=name, now=SystemClock().now())
        seal(database)
    say("It is settled next." if asked else "It has settled already; nothing to do.")
