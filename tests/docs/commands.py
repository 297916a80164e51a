"""Every ``intu-fhir ...`` that a page shows, judged by click's own tree."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from tests.docs.pages import blocks, prose

PROGRAM = "intu-fhir"
_SPAN = re.compile(r"`([^`\n]+)`")
_CALL = re.compile(rf"(?:^|(?<=[\s/=(])){PROGRAM}(?=\s|$)")
_CONTROL = re.compile(r"[;&|()]+")
_REDIRECTION = re.compile(r"[<>]+&?")


@dataclass(frozen=True)
class Call:
    """A call as a page shows it.

    Args:
        spoken: it stands in a sentence, where arguments may be left out.
    """

    arguments: tuple[str, ...]
    spoken: bool = False


def calls(text: str) -> Iterator[Call]:
    """Yield every call in code spans and in fenced blocks."""
    for block in blocks(text):
        for line in block.text.replace("\\\n", " ").splitlines():
            yield from _spoken(line)
            rest = _SPAN.sub("", line)
            for match in _CALL.finditer(rest):
                yield Call(_arguments(rest[match.end() :]))
    yield from _spoken(prose(text))


def _spoken(text: str) -> Iterator[Call]:
    for span in _SPAN.findall(text):
        if _CALL.match(span):
            yield Call(_arguments(span[len(PROGRAM) :]), spoken=True)


def _arguments(text: str) -> tuple[str, ...]:
    """Split as a shell would, up to the end of the command.

    Redirections are left out, and so is what a synopsis has in brackets.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    arguments: list[str] = []
    words = iter(lexer)
    for word in words:
        if _CONTROL.fullmatch(word):
            break
        if _REDIRECTION.fullmatch(word):
            if arguments and arguments[-1] in {"1", "2"}:
                arguments.pop()  # a file descriptor
            next(words, None)
            continue
        if not word.startswith("["):
            arguments.append(word)
    return tuple(arguments)


def complaint(root: click.Command, call: Call) -> str:
    """Return what is wrong with a call, or nothing.

    Names of commands and options, values of choices and numbers are judged, and whether
    arguments are missing or too many; whether a file is there is not.
    """
    try:
        _judge(root, list(call.arguments), None, spoken=call.spoken)
    except click.ClickException as error:
        return error.format_message()
    return ""


def _judge(
    command: click.Command, arguments: list[str], parent: click.Context | None, *, spoken: bool
) -> None:
    if not arguments and isinstance(command, click.Group):
        return  # the help is shown
    ctx = click.Context(command, info_name=command.name, parent=parent)
    group = isinstance(command, click.Group)
    ctx.allow_interspersed_args = not group
    values, rest, _ = command.make_parser(ctx).parse_args(list(arguments))
    if {"help", "version"} & {name for name, value in values.items() if value is True}:
        return
    for param in command.params:
        _judge_value(param, values.get(param.name or ""), ctx, spoken=spoken)
    if group:
        if rest:
            _judge_subcommand(command, rest, ctx, spoken=spoken)
        return
    if rest:
        raise click.UsageError(f"too many arguments: {' '.join(rest)}")


def _judge_subcommand(
    command: click.Command, rest: list[str], ctx: click.Context, *, spoken: bool
) -> None:
    assert isinstance(command, click.Group)
    if rest == ["COMMAND"]:
        return
    found = command.get_command(ctx, rest[0])
    if found is None:
        raise click.UsageError(f"no such command: {ctx.command_path} {rest[0]}")
    _judge(found, rest[1:], ctx, spoken=spoken)


def _judge_value(param: click.Parameter, value: Any, ctx: click.Context, *, spoken: bool) -> None:
    empty = value is None or value == () or type(value).__name__ == "Sentinel"
    if empty:
        if param.required and not spoken:
            raise click.UsageError(f"{param.get_error_hint(ctx)} is missing")
        return
    if isinstance(param.type, click.Path | click.File) or callable(param.callback):
        return
    for one in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(one, str) and not _is_placeholder(one):
            param.type.convert(one, param, ctx)


def _is_placeholder(value: str) -> bool:
    """Capitals such as UID or N stand for a value, so do dots."""
    return value.strip("._") == "" or re.fullmatch(r"[A-Z_]+(\.{3}|…)?", value) is not None
