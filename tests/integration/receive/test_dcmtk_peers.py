"""DCMTK as modality: storescu, dcmsend and echoscu with the options that sites use."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.receive.conftest import StartReceiving
from tests.support.programs import require
from tests.support.receiving import Receiving, limits
from tests.support.studies import write_study


def run(program: str, receiving: Receiving, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a DCMTK sender against the receiver; options that name files come last."""
    names = [option for option in options if Path(option).exists()]
    flags = [option for option in options if option not in names]
    return subprocess.run(
        [require(program), *flags, "-aec", "INTU_SCP", "127.0.0.1", str(receiving.port), *names],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def study(tmp_path: Path) -> list[str]:
    """Six instances in two series."""
    return [str(path) for path in write_study(tmp_path / "study")]


STORESCU = {
    "as it comes": (),
    "implicit little endian": ("-xi",),
    "big endian": ("-xb",),
    "deflated": ("-xd",),
    "small PDUs": ("--max-pdu", "4096", "--max-send-pdu", "4096"),
}


@pytest.mark.parametrize("options", STORESCU)
def test_storescu_stores_a_study(options: str, receiving: Receiving, study: list[str]) -> None:
    """Every instance that storescu sends is stored, whatever its options."""
    done = run("storescu", receiving, *STORESCU[options], *study)
    assert done.returncode == 0, done.stderr
    sent = {received.sop_instance_uid for received, _ in receiving.recorder.objects}
    assert len(sent) == len(receiving.recorder.objects) == len(study)
    receiving.recorder.wait_for_ends()


def test_dcmsend_reports_success_for_each_instance(receiving: Receiving, study: list[str]) -> None:
    """Dcmsend counts every instance as sent with status success."""
    done = run("dcmsend", receiving, "-v", *study)
    assert done.returncode == 0, done.stderr
    assert f"with status SUCCESS  : {len(study)}" in done.stdout + done.stderr
    assert receiving.recorder.wait_for_ends() == ["released"]


def test_storescu_abort_is_told(receiving: Receiving, study: list[str]) -> None:
    """An association that storescu aborts instead of releasing is told as aborted by the peer."""
    run("storescu", receiving, "--abort", *study)
    assert receiving.recorder.wait_for_ends() == ["aborted_by_peer"]
    assert len(receiving.recorder.objects) == len(study)


def test_echoscu_repeats(receiving: Receiving) -> None:
    """Echoscu is answered many times on one association and aborts or releases as it likes."""
    assert run("echoscu", receiving, "--repeat", "20").returncode == 0
    assert run("echoscu", receiving, "--abort").returncode == 0
    assert receiving.recorder.wait_for_ends(2) == ["released", "aborted_by_peer"]


def test_rejected_sender_is_told_why(start_receiving: StartReceiving, study: list[str]) -> None:
    """Storescu with a calling AE title that is not listed fails and says what was wrong."""
    receiving = start_receiving(calling_ae_titles=("CT_1",))
    done = run("storescu", receiving, "-aet", "STRANGER", *study)
    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stdout + done.stderr


def test_large_object_takes_many_pdus(start_receiving: StartReceiving, tmp_path: Path) -> None:
    """An object of several megabytes arrives whole over PDUs of 128 KB."""
    rows = columns = 1_500
    (path,) = write_study(
        tmp_path / "large",
        series=1,
        instances=1,
        Rows=rows,
        Columns=columns,
        PixelData=bytes(range(250)) * (rows * columns * 2 // 250),
    )
    receiving = start_receiving(receiver=limits(max_pdu_bytes=131_072))
    done = run("storescu", receiving, str(path))
    assert done.returncode == 0, done.stderr
    ((received, data),) = receiving.recorder.objects
    assert received.size == len(data) > 4_000_000
    assert data.endswith(bytes(range(250)))
