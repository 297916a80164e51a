"""Whether a process that writes is alive, while it writes."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from intu_fhir.files import writers
from intu_fhir.files.writers import Writer, somebody_writes


def test_a_writer_is_alive_while_it_replaces_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks just then does not take the entry of before, which nobody holds, for a dead one."""
    folder = tmp_path / "writers"
    folder.mkdir()
    writer = Writer(folder)
    writer.enter()
    replacing = threading.Thread(target=writer.begin, args=("instances/2024/01/01/0000/a.dcm",))
    flock = fcntl.flock

    def look(descriptor: int, how: int) -> None:
        if how == fcntl.LOCK_SH | fcntl.LOCK_NB and not replacing.ident:
            replacing.start()
            replacing.join(0.5)  # it ends now, or waits for who looks
        flock(descriptor, how)

    monkeypatch.setattr(writers.fcntl, "flock", look)
    assert somebody_writes(folder)
    replacing.join(30)
    writer.end("instances/2024/01/01/0000/a.dcm")
    writer.leave()
    assert not somebody_writes(folder)
