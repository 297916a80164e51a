"""W-05: what the program is made of, and what it never does."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY

PACKAGE = REPOSITORY / "intu_fhir"
BIN = Path(sys.executable).parent

FORBIDDEN = ("pickle", "cPickle", "dill", "marshal", "shelve", "pynetdicom.apps")
CALLS = ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load")

KNOWN = {
    ("B104", "settings/cross_checks.py"): "compares with the address of all interfaces",
    ("B104", "settings/schema.py"): "modalities come over the network",
    ("B608", "db/replay.py"): "a person's own predicate, run in a read-only session",
}
"""What Bandit finds and why it may stand."""


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text(encoding="utf-8"))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_w_05_nothing_unsafe_is_imported() -> None:
    """W-05: no format that runs what it reads, and no example programs of pynetdicom."""
    found = [
        (module, name)
        for module, tree in _modules()
        for name in _imported(tree)
        if any(name == one or name.startswith(f"{one}.") for one in FORBIDDEN)
    ]
    assert found == []


def test_w_05_nothing_unsafe_is_called() -> None:
    """W-05: no eval, no exec, no shell, no YAML that makes objects."""
    found = []
    for module, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                shell = [word for word in node.keywords if word.arg == "shell"]
                if ast.unparse(node.func) in CALLS or shell:
                    found.append((module, node.lineno, ast.unparse(node.func)))
    assert found == []


def test_w_05_bandit_finds_nothing_new() -> None:
    """W-05: of medium severity and above Bandit finds what was looked at, and nothing else."""
    done = subprocess.run(
        [BIN / "bandit", "--quiet", "--severity-level=medium", "-f", "json", "-r", PACKAGE],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    results = json.loads(done.stdout)["results"]
    found = {(one["test_id"], str(Path(one["filename"]).relative_to(PACKAGE))) for one in results}
    assert found == set(KNOWN)


@pytest.mark.parametrize("module", ["intu_fhir.cli", "intu_fhir.app.receiver_process"])
def test_w_05_it_does_not_start_without_its_checks(module: str) -> None:
    """W-05: Python's -O leaves out what the program makes sure of; it says so and ends with 2."""
    done = subprocess.run(
        [sys.executable, "-O", "-m", module, "--help"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "without -O" in done.stderr


@pytest.mark.slow
def test_w_05_its_parts_are_listed(tmp_path: Path) -> None:
    """W-05: the bill of materials (CycloneDX) names the program and what it is made of."""
    file = tmp_path / "sbom.json"
    subprocess.run(
        [sys.executable, "-m", "tools.sbom", file], check=True, cwd=REPOSITORY, timeout=110
    )
    bill = json.loads(file.read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "intu-fhir"
    names = {one["name"].lower() for one in bill["components"]}
    assert {"pydicom", "sqlalchemy", "pynetdicom", "fhir-resources", "uvicorn"} <= names
    assert "pytest" not in names
    assert all(one["version"] for one in bill["components"])
