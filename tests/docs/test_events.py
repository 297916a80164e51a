"""The page on logs names the events that the program writes, all of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.docs.pages import REPOSITORY, read

PAGE = REPOSITORY / "docs" / "how-to" / "read-the-logs.md"
LEVELS = {"info", "warning", "error"}
LOGGERS = {"log", "_log"}


def _written() -> Iterator[str]:
    """Yield the name of each event in the package's source."""
    for path in sorted((REPOSITORY / "intu_fhir").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _logs(node.func):
                yield from _names(node.args[0])


def _logs(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr in LEVELS
        and isinstance(function.value, ast.Name)
        and function.value.id in LOGGERS
    )


def _names(argument: ast.expr) -> Iterator[str]:
    for node in ast.walk(argument):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_event_is_explained() -> None:
    """What the program logs stands in the table of events, and nothing else does."""
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| (?:info|warning|error)", read(PAGE), re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert explained == set(_written())
