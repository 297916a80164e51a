"""``intu-fhir users``: who may log in to the web page."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from intu_fhir.cli.program import (
    Program,
    command,
    console,
    group,
    json_option,
    print_json,
    say,
)
from intu_fhir.cli.table import Column, show_table
from intu_fhir.web.access.roles import Role, role_named
from intu_fhir.web.access.users import User, new_user, read_users, write_users

_ROLES = [role.word for role in Role]

file_option = click.option(
    "--file",
    "named",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file. Default: web.users_file of the configuration.",
)


@group("users", "intu-fhir users add anna --role operator", "intu-fhir users list")
def users_command() -> None:
    """Name the people who may log in to the web page."""


@users_command.add_command
@command("add", "intu-fhir users add anna --role operator", "intu-fhir users add anna < password")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    metavar="ROLE",
    help=f"One of: {', '.join(_ROLES)}. Default: as it is, or viewer.",
)
@file_option
def add_command(program: Program, name: str, role: str | None, named: Path | None) -> None:
    """Add somebody, or set their password or role anew.

    The password is asked for, or read from standard input: never an argument, which other users
    of the machine could see. A running web page takes the change at once.
    """
    file = _file(program, named)
    users = read_users(file)
    wanted = role_named(role) if role else users[name].role if name in users else Role.VIEWER
    assert wanted is not None
    try:
        users[name] = new_user(name, wanted, _password())
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    write_users(file, users)
    say(f"{name} may log in as {wanted.word}.")


@users_command.add_command
@command("remove", "intu-fhir users remove anna")
@click.argument("name")
@file_option
def remove_command(program: Program, name: str, named: Path | None) -> None:
    """Remove somebody; their session ends at once."""
    file = _file(program, named)
    users = read_users(file)
    if name not in users:
        raise click.BadParameter(f"{file} names no {name}", param_hint="NAME")
    del users[name]
    write_users(file, users)
    say(f"{name} may not log in any more.")


@users_command.add_command
@command("list", "intu-fhir users list", "intu-fhir users list --json")
@file_option
@json_option()
def list_command(program: Program, named: Path | None, wants_json: bool) -> None:
    """List who may log in, and as what."""
    users = list(read_users(_file(program, named)).values())
    if wants_json:
        print_json([{"name": user.name, "role": user.role.word} for user in users])
    elif users:
        show_table(console(), users, _COLUMNS)
    else:
        say("Nobody may log in; `intu-fhir users add NAME` names somebody.")


_COLUMNS: list[Column[User]] = [
    Column("NAME", lambda user: user.name),
    Column("ROLE", lambda user: user.role.word),
]


def _file(program: Program, named: Path | None) -> Path:
    if named is not None:
        return named
    file = program.staging().site.web.users_file
    if file is None:
        raise click.UsageError(
            "the configuration names no file; write `web: {users_file: users}` into intu.yaml, "
            "or say --file"
        )
    return file


def _password() -> str:
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return typed
    return sys.stdin.readline().rstrip("\r\n")
