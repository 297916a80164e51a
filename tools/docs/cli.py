"""``docs/reference/cli.md``: every command with its options, from click's own tree."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from intu_fhir.cli.main import cli
from tools.docs.markdown import code, page, table

_INTRODUCTION = """\
Exit codes: 0 done, 1 something needs a person, 2 wrong use or wrong configuration. Every command
takes `--help` and `--config`."""

_EVERYWHERE = frozenset(option.name for option in cli.params)


def cli_page() -> str:
    """Return the page."""
    context = click.Context(cli, info_name="intu-fhir")
    return page("Command line", _INTRODUCTION, *_command(context, cli, level=2))


def _command(parent: click.Context, command: click.Command, level: int) -> Iterator[str]:
    """Describe a command, then those below it."""
    yield f"{'#' * level} {parent.command_path}"
    yield f"```console\n{_usage(parent, command)}\n```"
    yield inspect.cleandoc(command.help or "").replace("\b\n", "")
    options = [p for p in command.params if isinstance(p, click.Option) and _is_shown(p, level)]
    if options:
        rows = (_row(parent, option) for option in options)
        yield table(("Option", "Default", "Meaning"), rows)
    if command.epilog:
        lines = inspect.cleandoc(command.epilog.replace("\b\n", "")).splitlines()
        examples = "\n".join(f"$ {line.strip()}" for line in lines if not line.endswith(":"))
        yield f"```console\n{examples}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(parent):
            below = command.get_command(parent, name)
            if below is not None:
                context = click.Context(below, info_name=name, parent=parent)
                yield from _command(context, below, level + 1)


def _usage(context: click.Context, command: click.Command) -> str:
    return " ".join((context.command_path, *command.collect_usage_pieces(context)))


def _is_shown(option: click.Option, level: int) -> bool:
    return not option.hidden and (level == 2 or option.name not in _EVERYWHERE)


def _row(context: click.Context, option: click.Option) -> tuple[str, str, str]:
    names = ", ".join((*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f" {option.make_metavar(context)}"
    shown = option.show_default or context.show_default
    default = code(option.default) if shown and option.default is not None else ""
    return code(names + value), default, option.help or ""
