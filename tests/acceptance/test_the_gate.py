"""What the gate takes for a fault when a test is skipped, and what it does not."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import hosts, object_stores


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
