"""What the code logs gets out, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import intu_fhir
from intu_fhir.observe.logging import ALLOWED

_LEVELS = {"debug", "info", "warning", "error"}


def _fields() -> Iterator[tuple[str, str]]:
    """Give every keyword of every log call with its place."""
    for path in sorted(Path(intu_fhir.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = node.func.value
            if node.func.attr in _LEVELS and getattr(called, "id", "") in {"log", "_log"}:
                for keyword in node.keywords:
                    if keyword.arg is not None:
                        yield f"{path.name}:{node.lineno}", keyword.arg


def test_every_field_that_is_logged_gets_out() -> None:
    """A field that the list does not name would be dropped without a word."""
    fields = list(_fields())
    assert len(fields) > 20
    assert [(place, field) for place, field in fields if field not in ALLOWED] == []
