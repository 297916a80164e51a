"""What the gate takes for a fault when a test is skipped, and that no lane hides anything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import hosts, object_stores
from tests.support.data import REPOSITORY
from tools.lanes import FIRST, Lane, lanes, run


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be where everything has to be there."""
    monkeypatch.setenv("INTU_CI", "1")


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that lets nobody make namespaces."""

    def refuse(_names: Sequence[str]) -> hosts.Network:
        raise subprocess.CalledProcessError(1, "ip", stderr="Operation not permitted")

    monkeypatch.setattr(hosts, "require", lambda program: program)
    monkeypatch.setattr(hosts, "remove_leftovers", lambda: None)
    monkeypatch.setattr(hosts, "_remove", lambda owner: None)
    monkeypatch.setattr(hosts, "_make", refuse)


@pytest.mark.usefixtures("gate", "no_namespaces")
def test_the_gate_has_to_make_hosts() -> None:
    """Where no namespaces can be made the gate fails, or all of these tests would vanish green."""
    either = (pytest.fail.Exception, pytest.skip.Exception)
    with pytest.raises(either, match="not permitted") as outcome, hosts.network("a"):
        pass
    assert isinstance(outcome.value, pytest.fail.Exception)


@pytest.mark.usefixtures("no_namespaces")
def test_elsewhere_hosts_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a developer's machine the test is skipped and says what it needs."""
    monkeypatch.delenv("INTU_CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs a system"), hosts.network("a"):
        pass


@pytest.mark.usefixtures("gate")
def test_the_gate_does_without_versitygw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only Go's registry has is skipped, in words that the gate takes for no fault."""
    monkeypatch.setattr(object_stores, "versitygw", lambda: None)
    with pytest.raises(pytest.skip.Exception) as skipped:
        object_stores.start_object_store("versitygw", tmp_path)
    assert "needs " not in str(skipped.value)


def test_the_lanes_together_run_every_test() -> None:
    """What one of the processes leaves out, another one runs: by folder, and by marker."""
    [first, second], [alone] = lanes()
    assert first.arguments == ["-m", "not alone", *FIRST]
    assert second.arguments == ["-m", "not alone", *(f"--ignore={one}" for one in FIRST)]
    assert list(alone.arguments) == ["-m", "alone"]
    assert [one for one in FIRST if not (REPOSITORY / one).is_dir()] == []


@pytest.fixture
def few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pytest start with what is its own: that takes a tenth of the time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def _lane(folder: Path, name: str, text: str) -> Lane:
    """Write a file of tests; return the process that runs it, with no settings of ours."""
    file = folder / f"test_{name}.py"
    file.write_text(text)
    return Lane(name, ["-q", "-p", "no:cacheprovider", "-c", os.devnull, str(file)])


@pytest.mark.usefixtures("few_plugins")
@pytest.mark.parametrize("failing", ["left", "right", "last"])
def test_one_failure_in_any_lane_fails_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], failing: str
) -> None:
    """The exit code says it, and so do the last lines; the other lanes are run all the same."""
    texts = dict.fromkeys(("left", "right", "last"), "def test_it():\n    pass\n")
    texts[failing] = "def test_it():\n    assert 'this' == 'that'\n"
    left, right, last = (_lane(tmp_path, *one) for one in texts.items())
    assert run([left, right], [last]) == 1
    shown = capsys.readouterr().out
    # The last line of a failure's report; the summary below it may say the same again.
    assert shown.count("E       AssertionError: assert 'this' == 'that'") == 1
    ends = [line.partition(" in ")[0] for line in shown.splitlines()[-3:]]
    assert ends == [f"{name}: 1 {'failed' if name == failing else 'passed'}" for name in texts]


@pytest.mark.usefixtures("few_plugins")
def test_lanes_without_failure_succeed(tmp_path: Path) -> None:
    """Where every process succeeds, all of it does; one that finds no test is a failure."""
    good = _lane(tmp_path, "good", "def test_it():\n    pass\n")
    assert run([good]) == 0
    assert run([good], [_lane(tmp_path, "empty", "")]) == 1
