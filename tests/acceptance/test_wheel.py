"""The wheel works alone: no checkout, no developer's environment."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.data import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Run = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(REPOSITORY)], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def run(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a program of an environment that holds the wheel and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("alone")
    programs = tmp_path_factory.mktemp("environment") / "bin"
    subprocess.run([sys.executable, "-m", "venv", str(programs.parent)], check=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [programs / program, *arguments],
            cwd=folder,
            env=clean | {"HOME": str(folder)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{program} {arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run("python", "-m", "pip", "install", "--quiet", str(wheel))
    return run


def test_data_is_in_the_wheel(wheel: Path) -> None:
    """Migrations and mappings, which stand outside the package, are shipped in it."""
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("migrations", "mappings"):
        files = [p for p in (REPOSITORY / folder).rglob("*") if _is_shipped(p)]
        missing = [
            str(path)
            for path in files
            if f"intu_fhir/_data/{path.relative_to(REPOSITORY).as_posix()}" not in names
        ]
        assert files
        assert missing == []


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    """Tests, tools and what a developer's run left behind stay out."""
    names = zipfile.ZipFile(wheel).namelist()
    strays = [n for n in names if not n.startswith(("intu_fhir/", "intu_fhir-", "intu_fhir_"))]
    assert strays == []
    assert [name for name in names if "__pycache__" in name] == []


def test_a_new_user_gets_there(run: Run) -> None:
    """Outside the checkout init, check and demo succeed one after the other."""
    run("intu-fhir", "init")
    run("intu-fhir", "check")
    shown = run("intu-fhir", "demo")
    assert "IMAGINGSTUDY" in shown
    assert "delivered" in shown


def _is_shipped(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
