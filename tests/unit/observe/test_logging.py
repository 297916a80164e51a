"""What the code logs gets out, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

import intu_fhir
from intu_fhir.observe.logging import ALLOWED, join_logging

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


def test_in_the_log_of_another_program_the_list_holds_for_us_alone() -> None:
    """What is not on the list does not get out of us; events of others stay as they are."""
    seen: list[dict[str, Any]] = []

    def keep(_logger: Any, _method: str, event: Any) -> Any:
        seen.append(dict(event))
        raise structlog.DropEvent

    structlog.configure(processors=[keep], logger_factory=structlog.stdlib.LoggerFactory())
    join_logging()
    join_logging()
    structlog.get_logger("intu_fhir.test").warning("work_done", step="build", patient="Sam")
    structlog.get_logger("airflow.task").warning("done", patient="not ours to judge")
    assert seen == [
        {"event": "work_done", "step": "build"},
        {"event": "done", "patient": "not ours to judge"},
    ]
