"""``intu-fhir tokens``: with what programs use the API."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from intu_fhir.cli.program import (
    Program,
    command,
    console,
    examples,
    json_option,
    limit_option,
    print_json,
    say,
)
from intu_fhir.cli.table import Column, show_table
from intu_fhir.cli.text import local_minute, zone_name
from intu_fhir.db.audit import seal
from intu_fhir.db.tokens import TokenRow, add_token, list_tokens, revoke_token
from intu_fhir.observe.clock import SystemClock
from intu_fhir.observe.login import login
from intu_fhir.web.access.roles import Role
from intu_fhir.web.access.tokens import hash_of, is_token_name, new_token

_ROLES = [role.word for role in Role]
_MOST_DAYS = 3_650


@click.group(
    "tokens",
    epilog=examples(
        "intu-fhir tokens create dashboard --days 90",
        "intu-fhir tokens list",
        "intu-fhir tokens revoke dashboard",
    ),
)
def tokens_command() -> None:
    """Give out and revoke tokens with which programs use the API."""


@tokens_command.add_command
@command(
    "create",
    "intu-fhir tokens create dashboard --days 90",
    "intu-fhir tokens create night-job --role operator > /etc/intu/night-job.token",
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    metavar="ROLE",
    default=Role.VIEWER.word,
    show_default=True,
    help=f"One of: {', '.join(_ROLES)}.",
)
@click.option(
    "--days",
    type=click.IntRange(0, _MOST_DAYS),
    metavar="N",
    default=365,
    show_default=True,
    help="It ends after so many days; 0 = never.",
)
def create_command(program: Program, name: str, role: str, days: int) -> None:
    """Print a new token, this once: only its hash is kept.

    It is sent as `Authorization: Bearer TOKEN`. Give each program one of its own, with the least
    role that it needs.
    """
    if not is_token_name(name):
        raise click.BadParameter(
            "1 to 64 letters, digits and . _ @ -, a letter or digit first", param_hint="NAME"
        )
    now, token = SystemClock().now(), new_token()
    ends = now + timedelta(days=days) if days else None
    with program.database() as database:
        with database.write() as connection:
            is_new = add_token(
                connection,
                name,
                role=role,
                sha256=hash_of(token),
                expires_at=ends,
                by=login(),
                now=now,
            )
        seal(database)
    if not is_new:
        raise click.BadParameter(
            f"there is a token {name}; revoke it first, or take another name", param_hint="NAME"
        )
    say(f"{name} may come as {role}, {_until(ends)}. It is not shown again.", stderr=True)
    click.echo(token)


@tokens_command.add_command
@command("list", "intu-fhir tokens list", "intu-fhir tokens list --revoked --json")
@click.option("--revoked", is_flag=True, help="Those that were revoked too.")
@limit_option()
@json_option()
def list_command(program: Program, wants_json: bool, revoked: bool, limit: int) -> None:
    """List tokens, the newest first: whose they are, what they may, when they were last used."""
    with program.database() as database, database.read() as connection:
        rows = list_tokens(connection, revoked=revoked, limit=limit)
    if wants_json:
        print_json(rows)
    elif rows:
        show_table(console(), rows, _columns(SystemClock().now()))
    else:
        say("There is no token; `intu-fhir tokens create NAME` makes one.")


def _columns(now: datetime) -> list[Column[TokenRow]]:
    return [
        Column("NAME", lambda row: row.name),
        Column("ROLE", lambda row: row.role),
        Column("STATE", lambda row: _state(row, now)),
        Column(f"ENDS ({zone_name()})", lambda row: local_minute(row.expires_at) or "never"),
        Column("LAST USED", lambda row: local_minute(row.last_used_at) or "never"),
        Column("BY", lambda row: row.created_by, shrinks=True),
    ]


def _state(row: TokenRow, now: datetime) -> str:
    if row.revoked_at is not None:
        return f"revoked by {row.revoked_by}"
    return "valid" if row.is_valid(now) else "expired"


def _until(ends: datetime | None) -> str:
    return f"until {local_minute(ends)}" if ends else "for ever"


@tokens_command.add_command
@command("revoke", "intu-fhir tokens revoke dashboard")
@click.argument("name")
def revoke_command(program: Program, name: str) -> None:
    """Revoke a token; it opens nothing from now on."""
    with program.database() as database:
        with database.write() as connection:
            ended = revoke_token(connection, name, by=login(), now=SystemClock().now())
        seal(database)
    if not ended:
        raise click.BadParameter(
            f"there is no token {name} to revoke; see `intu-fhir tokens list`", param_hint="NAME"
        )
    say(f"{name} opens nothing any more.")
