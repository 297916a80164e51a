"""``intu-fhir db``."""

from __future__ import annotations

import click

from intu_fhir.cli.confirm import confirm
from intu_fhir.cli.program import Program, command, group, json_option, print_json, say
from intu_fhir.db import migrate
from intu_fhir.errors import ConfigurationError


@group("db", "intu-fhir db current", "intu-fhir db upgrade")
def db_command() -> None:
    """Upgrade or downgrade the schema of the staging database."""


@db_command.add_command
@command("upgrade", "intu-fhir db upgrade")
@click.argument("revision", default="head")
def upgrade_command(program: Program, revision: str) -> None:
    """Bring the staging database to REVISION, by default to the one of this version.

    Safe to repeat. Receivers of the version before may go on meanwhile.
    """
    url = program.staging().site.database
    before = migrate.current(url)
    migrate.upgrade(url, revision)
    _say_what_happened(before, migrate.current(url))


@db_command.add_command
@command("downgrade", "intu-fhir db downgrade 0001")
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do not ask.")
def downgrade_command(program: Program, revision: str, yes: bool) -> None:
    """Bring the staging database back to REVISION.

    `base` removes every staging table with its rows; the image files stay.
    """
    url = program.staging().site.database
    if revision == "base" and not yes:
        confirm("This removes every staging table with its rows. Go on?")
    before = migrate.current(url)
    migrate.downgrade(url, revision)
    _say_what_happened(before, migrate.current(url))


@db_command.add_command
@command("current", "intu-fhir db current --json")
@json_option()
@click.pass_context
def current_command(ctx: click.Context, program: Program, wants_json: bool) -> None:
    """Show the revision of the staging database, and the one that this version works on.

    Ends with 1 where this version cannot run on it. One that is older than the database can, until
    a newer version takes something away that it needs.
    """
    url = program.staging().site.database
    current, head = migrate.current(url), migrate.head()
    reason = _why_not(url)
    if wants_json:
        print_json({"current": current, "head": head, "fits": not reason})
    else:
        say(f"current {current or 'none, no staging tables yet'}")
        say(f"head    {head}")
        if reason:
            say(reason, stderr=True)
        elif current != head:
            say("A newer version has upgraded it; this one may go on beside it.")
    if reason:
        ctx.exit(1)


def _why_not(url: str) -> str:
    """Say why this version cannot run on a database; empty where it can."""
    try:
        migrate.require_fit(url)
    except ConfigurationError as error:
        return error.reason
    return ""


def _say_what_happened(before: str | None, after: str | None) -> None:
    if before == after:
        say(f"The database is at {after or 'no revision'} already.")
    else:
        say(f"{before or 'empty'} -> {after or 'empty'}")
