"""Every command is documented, with an example."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from intu_fhir.cli.main import COMMANDS, cli, run


def _commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))


ALL = dict(_commands(cli))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Help opens with the summary of the table and ends with an example of this command."""
    assert run([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"  intu-fhir {path[0]}" in text.partition("Example")[2]
    if len(path) == 1:
        summary = (ALL[path].help or "").partition("\n")[0]
        assert summary == COMMANDS[path[0]][1]


@pytest.mark.parametrize("path", [path for path in ALL if path[-1] == "list"], ids=" ".join)
def test_what_lists_also_gives_json(path: tuple[str, ...]) -> None:
    """Every command that lists has --json."""
    assert any("--json" in parameter.opts for parameter in ALL[path].params)


@pytest.mark.parametrize("name", ["studies", "study", "deliveries", "sql", "replay", "check"])
def test_json_of_reports(name: str) -> None:
    """Every command that reports has --json."""
    assert any("--json" in parameter.opts for parameter in ALL[(name,)].params)


def test_no_secret_is_taken_from_the_command_line() -> None:
    """No option takes a password or token, which every process of the machine could read."""
    names = {name for command in ALL.values() for p in command.params for name in p.opts}
    assert not [name for name in names if "password" in name or "token" in name]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("studys", "studies"), ("delivery", "deliveries"), ("hold", "holds"), ("serv", "serve")],
)
def test_a_command_that_is_mistyped(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is almost that of a command gets it offered, on any version of click."""
    assert run([typed]) == 2
    _, _, offered = capsys.readouterr().err.partition("Did you mean ")
    assert meant in offered.rstrip("?\n").split(" or ")


def test_wrong_use_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command and an unknown option are wrong use."""
    assert run(["no-such-command"]) == 2
    assert run(["studies", "--no-such-option"]) == 2
    assert "No such option" in capsys.readouterr().err
