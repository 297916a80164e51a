"""The command for root's shell runs the program as the service does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY, read

COMMAND = REPOSITORY / "deploy" / "command" / "intu-fhir"
UNIT = REPOSITORY / "deploy" / "systemd" / "intu-fhir.service"
PAGES = REPOSITORY / "docs" / "how-to"
_AS_ANOTHER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs as somebody else")


def _values(text: str) -> dict[str, str]:
    lines = (line.removeprefix("export ") for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0].isalpha())


def _run(folder: Path, *arguments: str, before: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """Run it for a user that every machine has, with a program that says what it got."""
    text = COMMAND.read_text("utf-8").replace("/opt/intu-fhir/bin/intu-fhir", "/usr/bin/env")
    text = text.replace("user=intu", "user=nobody")
    text = text.replace("/etc/intu-fhir/secrets.env", f"{folder}/s").replace(
        '--regid="$user"', "--regid=65534"
    )
    done = subprocess.run(
        [*before, "sh", "-c", text, "intu-fhir", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
        env={"PATH": os.environ["PATH"], "SUDO_USER": "rita"},
        cwd="/",
    )
    return done.returncode, done.stdout, done.stderr


def test_it_is_the_program_of_the_service() -> None:
    """User, program, configuration and secrets are those of the unit."""
    ours = _values(COMMAND.read_text("utf-8"))
    lines = [line.partition("=") for line in UNIT.read_text("utf-8").splitlines()]
    unit = {key: value for key, _, value in lines}
    assert (ours["user"], f"INTU_CONFIG={ours['INTU_CONFIG']}") == (
        unit["User"],
        unit["Environment"],
    )
    assert ours["program"] == unit["ExecStart"].split()[0]
    assert f"-{ours['secrets']}" == unit["EnvironmentFile"]
    assert f"umask {unit['UMask'].removeprefix('0')}" in COMMAND.read_text("utf-8")
    assert COMMAND.stat().st_mode & 0o777 == 0o755


@as_root
def test_it_runs_as_the_service_does(tmp_path: Path) -> None:
    """Arguments come through whole; secrets are as they are written; a person stays named."""
    secrets = '# mine\n\nPLAIN=a $HOME b#c\nQUOTED="x \' y"\nEMPTY=\nLAST=p=q'
    (tmp_path / "s").write_text(secrets)
    script = 'id -un; umask; printf "%s\\n" "$PLAIN" "$QUOTED" "$EMPTY" "$LAST" "$LOGNAME" "$@"'
    code, out, err = _run(tmp_path, "sh", "-c", script, "-", "one word", "$x")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "nobody", "0077", "a $HOME b#c", "x ' y", "", "p=q", "rita", "one word", "$x",
    ]  # fmt: skip


@as_root
def test_its_exit_code_is_the_programs(tmp_path: Path) -> None:
    """What cron or a script asks for comes through; a file of secrets need not be there."""
    assert _run(tmp_path, "sh", "-c", "exit 7")[0] == 7


def test_whoever_is_not_root_is_told(tmp_path: Path) -> None:
    """Nothing is run, and the message says how to call it."""
    before = tuple(_AS_ANOTHER) if os.geteuid() == 0 else ()
    code, out, err = _run(tmp_path, "true", before=before)
    assert (code, out) == (2, "")
    assert "sudo intu-fhir" in err


def test_pages_that_call_it_bare_say_how_it_comes_there() -> None:
    """Where an operator of a service is shown bare calls, the page links to the paragraph."""
    service = read(PAGES / "run-as-a-service.md")
    assert "\n## The command\n" in service
    assert (
        "install --mode=0755 --target-directory=/usr/local/bin deploy/command/intu-fhir" in service
    )
    for name in ("upgrade", "back-up-and-restore", "troubleshooting", "keep-the-disk-free"):
        assert "(run-as-a-service.md#the-command)" in read(PAGES / f"{name}.md"), name
