"""What every command has: the configuration, the database, and where to print."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console

from intu_fhir.cli.text import as_json

if TYPE_CHECKING:
    from intu_fhir.db.session import Database
    from intu_fhir.settings.schema import Configuration

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Program:
    """The invocation of a command; what is slow to import is imported when it is asked for.

    Args:
        config: folder of ``intu.yaml``, or that file.
        debug: errors show where they come from.
    """

    config: Path = Path()
    debug: bool = False

    def configuration(self) -> Configuration:
        """Load the configuration."""
        from intu_fhir.settings.load import load_configuration

        return load_configuration(self.config)

    def staging(self) -> Configuration:
        """Load it for what asks no destination: their secrets need not be at hand."""
        from intu_fhir.settings.load import load_configuration

        return load_configuration(self.config, without=frozenset({"destinations"}))

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """Open the staging database of the configuration."""
        from intu_fhir.db import migrate
        from intu_fhir.db.session import Database

        url = self.staging().site.database
        migrate.require_fit(url)
        database = Database(url, pool_size=1)
        try:
            yield database
        finally:
            database.close()


def console(*, stderr: bool = False, file: IO[str] | None = None) -> Console:
    """Return where to print; made when needed, so that redirection counts."""
    return Console(stderr=stderr, file=file, highlight=False, markup=False, soft_wrap=True)


def say(text: str = "", *, stderr: bool = False, style: str | None = None) -> None:
    """Print one line of text."""
    console(stderr=stderr).print(text, style=style)


def print_json(value: Any) -> None:
    """Print rows as JSON."""
    click.echo(as_json(value))


def _remember(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Program).config = value


config_option = partial(
    click.option,
    "--config",
    type=click.Path(path_type=Path),
    envvar="INTU_CONFIG",
    expose_value=False,
    is_eager=True,
    callback=_remember,
    metavar="DIR",
    help="Folder that holds intu.yaml, or that file. Also INTU_CONFIG. Default: this folder.",
)

json_option = partial(
    click.option, "--json", "wants_json", is_flag=True, help="Print JSON, with every field."
)

KEY = click.IntRange(1, 2**63 - 1)
"""The number of a row, as both databases have it."""

limit_option = partial(
    click.option,
    "--limit",
    type=click.IntRange(1, 100_000),
    metavar="N",
    default=50,
    show_default=True,
    help="Most rows to show.",
)

pass_program = click.make_pass_decorator(Program, ensure=True)


def examples(*lines: str) -> str:
    """Return the end of a help text: what one might type."""
    title = "Examples" if len(lines) > 1 else "Example"
    return "\n".join(["\b", f"{title}:", *(f"  {line}" for line in lines)])


def command(
    name: str, *lines: str, kind: type[click.Command] = click.Command
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command that takes ``--config`` and gets the Program first.

    Args:
        name: how it is called.
        lines: examples for its help.
        kind: what reads its arguments.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        make = click.command(name, cls=kind, epilog=examples(*lines))
        made: click.Command = make(config_option()(pass_program(function)))
        return made

    return decorate


def group(name: str, *lines: str) -> Callable[[Callable[[], None]], click.Group]:
    """Make a command with commands below it; on its own it lists, where one of them is ``list``.

    Args:
        name: how it is called.
        lines: examples for its help.
    """

    def decorate(function: Callable[[], None]) -> click.Group:
        @click.group(name, epilog=examples(*lines), invoke_without_command=True)
        @config_option()
        @click.pass_context
        @wraps(function)
        def made(ctx: click.Context) -> None:
            if ctx.invoked_subcommand is None:
                _list_or_help(ctx, made)

        return made

    return decorate


def _list_or_help(ctx: click.Context, of: click.Group) -> None:
    listing = of.get_command(ctx, "list")
    if listing is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)
    ctx.invoke(listing)
