"""What reviewers would otherwise have to say again and again."""

from __future__ import annotations

import ast
import statistics
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tests.support.data import REPOSITORY

PACKAGE = REPOSITORY / "intu_fhir"
ROOMS = ("receive", "stage", "aggregate", "build", "deliver")

SHELL = frozenset(
    {
        "aggregate/step.py",
        "build/step.py",
        "build/transform.py",
        "deliver/addresses.py",
        "deliver/asking.py",
        "deliver/association.py",
        "deliver/at_once.py",
        "deliver/auth.py",
        "deliver/beside.py",
        "deliver/commitment.py",
        "deliver/commitment_scu.py",
        "deliver/decoder.py",
        "deliver/decoding.py",
        "deliver/confirm.py",
        "deliver/dicom.py",
        "deliver/document.py",
        "deliver/edited.py",
        "deliver/exchange.py",
        "deliver/keys.py",
        "deliver/lease.py",
        "deliver/fhir.py",
        "deliver/following.py",
        "deliver/idle.py",
        "deliver/line.py",
        "deliver/publish.py",
        "deliver/sender.py",
        "deliver/server.py",
        "deliver/step.py",
        "deliver/stored.py",
        "deliver/subject.py",
        "deliver/tls.py",
        "deliver/told.py",
        "deliver/uncompressed.py",
        "deliver/withdraw.py",
        "deliver/transport.py",
        "receive/connection.py",
        "receive/descriptors.py",
        "receive/ending.py",
        "receive/intake.py",
        "receive/lean.py",
        "receive/ledger.py",
        "receive/listener.py",
        "receive/reporting.py",
        "receive/service.py",
        "receive/slots.py",
        "receive/space.py",
        "receive/tls.py",
        "receive/transport.py",
        "stage/accept.py",
        "stage/asides.py",
        "stage/commit.py",
        "stage/commitments.py",
        "stage/describer.py",
        "stage/documents.py",
        "stage/doubts.py",
        "stage/ends.py",
        "stage/file_source.py",
        "stage/handover.py",
        "stage/import_files.py",
        "stage/left_behind.py",
        "stage/media.py",
        "stage/order.py",
        "stage/passing.py",
        "stage/promise.py",
        "stage/recover.py",
        "stage/rows.py",
        "stage/stored.py",
        "stage/turns.py",
        "stage/uploads.py",
        "stage/withheld.py",
    }
)
"""The modules of the five steps that touch the world; all others only decide."""

CATCH_EVERYTHING = frozenset(
    {
        "db/session.py",  # whatever a commit raises, it may have been carried out
        "deliver/decoding.py",  # what foreign decoders raise of foreign bytes is its answer
        "receive/connection.py",  # one association's end is never the listener's
        "receive/ending.py",
        "receive/intake.py",
        "pipeline/runner.py",  # a failed step is recorded, not lost
        "cli/main.py",
        "web/http/last_resort.py",  # one request's end is never the server's
        "stage/commit.py",  # nothing is swallowed: the waiting threads raise it
        "stage/ends.py",  # an end that cannot be noted is told, and the next ones are noted
        "stage/handover.py",
    }
)


def modules() -> list[Path]:
    """Return every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Give every module of the package with its name below it."""
    for path in modules():
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def test_files_are_short() -> None:
    """No module has 400 lines or more: in a longer one a second noun is hiding."""
    lengths = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in modules()
    }
    assert {name: length for name, length in lengths.items() if length >= 400} == {}


def test_functions_fit_on_a_screen() -> None:
    """Half of all functions have at most 8 lines, 19 of 20 at most 30, none more than 60."""
    lengths = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert statistics.median(lengths) <= 8
    assert lengths[len(lengths) * 95 // 100] <= 30
    assert lengths[-1] <= 60


def test_everything_is_caught_in_named_places_only() -> None:
    """Only a few named modules catch every exception; elsewhere it is raised again."""
    found = {
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _raises(node)
    }
    assert found - CATCH_EVERYTHING == set()


def test_every_module_of_a_step_either_decides_or_acts() -> None:
    """A module is under the contract that it reaches no I/O, or is listed as touching the world."""
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
    pure = next(
        c["source_modules"] for c in contracts if c["name"] == "What decides touches nothing"
    )
    listed = {name.removeprefix("intu_fhir.").replace(".", "/") + ".py" for name in pure}
    in_rooms = {name for name, _ in trees() if name.startswith(ROOMS)}
    unplaced = {name for name in in_rooms if not name.endswith("__init__.py")} - listed - SHELL
    assert unplaced == set(), "put each into the contract in pyproject.toml, or into SHELL"
    assert listed & SHELL == set()


def test_no_mocks_and_no_sleeps() -> None:
    """Tests use real things, and wait for events instead of sleeping."""
    found = {
        str(file.relative_to(REPOSITORY))
        for file in (REPOSITORY / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.expr) and ast.unparse(node) in {"time.sleep", "mock.patch"}
    }
    assert found == set()


def test_docstrings_come_first() -> None:
    """A string within a function, behind its first line and no assignment, is told to nobody."""
    lost = [
        f"{name}:{line.lineno}"
        for name, tree in trees()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for before, line in pairwise(function.body)
        if isinstance(line, ast.Expr)
        and not isinstance(before, ast.Assign | ast.AnnAssign)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    ]
    assert not lost


def _is_broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or ast.unparse(handler.type) in {"Exception", "BaseException"}


def _raises(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None
