"""The API does what the command line does, or its page names what needs the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import click

from intu_fhir.cli.main import COMMANDS, cli
from intu_fhir.settings.web import Web
from intu_fhir.web.api.document import api_routes
from intu_fhir.web.api.routing import PREFIX
from tests.docs.pages import REPOSITORY, read

PAGE = REPOSITORY / "docs" / "how-to" / "use-the-api.md"
IN_THE_API: Mapping[str, str] = {
    "studies": "GET /studies",
    "study": "GET /studies/{uid}",
    "deliveries": "GET /deliveries",
    "destinations": "GET /destinations",
    "destinations pause": "POST /destinations/{name}/pause",
    "destinations resume": "POST /destinations/{name}/resume",
    "destinations retire": "POST /destinations/{name}/retire",
    "replay": "POST /replays",
    "settle": "POST /studies/{uid}/settle",
    "holds list": "GET /holds",
    "holds release": "POST /holds/{key}/release",
    "quarantine list": "GET /quarantine",
    "quarantine remove": "POST /quarantine/{key}/remove",
    "commitments list": "GET /commitments",
    "commitments show": "GET /commitments/{uid}",
    "commitments retry": "POST /commitments/{uid}/retry",
    "audit list": "GET /audit",
    "preview": "GET /studies/{uid}/preview",
    "sql": "POST /sql",
}


def _commands() -> Iterator[str]:
    """Yield every command, those of groups with their group."""
    context = click.Context(cli)
    for name in COMMANDS:
        found = cli.get_command(context, name)
        if not isinstance(found, click.Group):
            yield name
            continue
        yield from (f"{name} {one}" for one in found.commands)
        if name in IN_THE_API:  # a group that shows something by itself
            yield name


def test_every_command_is_in_the_api_or_needs_the_machine() -> None:
    """Each command is an operation of the API, or stands in the table of those that are not."""
    table = read(PAGE).partition("## What needs the machine")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    on_the_machine = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    commands = set(_commands())
    assert on_the_machine | set(IN_THE_API) == commands
    assert on_the_machine & set(IN_THE_API) == set()


def test_the_operations_are_there() -> None:
    """Each operation that stands for a command is a route of the API."""
    there = {
        f"{method} {route.path.removeprefix(PREFIX)}"
        for route in api_routes(Web())
        for method in route.methods
    }
    assert set(IN_THE_API.values()) - there == set()
