"""DCMTK as modality: storescu, dcmsend and echoscu with the options that sites use."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.receive.conftest import StartReceiving
from tests.support.data import INCOMPLETE, pydicom_files
from tests.support.programs import require
from tests.support.receiving import Receiving, limits
from tests.support.studies import write_study
from tests.support.waiting import wait_until


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
    "odd PDUs": ("--max-pdu", "5003", "--max-send-pdu", "7001"),
    "large PDUs": ("--max-pdu", "131072", "--max-send-pdu", "131072"),
    "one context each": ("--no-halt", "--required"),
    "contexts of one class combined": ("--combine",),
    "all uncompressed": ("-x=",),
    "little endian first": ("-xe",),
    "another compression beside": ("-xs",),
    "many more contexts": ("-xv", "--verbose"),
    "limits on its own waits": ("-to", "20", "-ta", "20", "-td", "20"),
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


DCMSEND = {
    "one association": ("-ma",),
    "several associations": ("+ma",),
    "small PDUs": ("-pdu", "4096", "--max-send-pdu", "4096"),
    "large PDUs": ("-pdu", "131072", "--max-send-pdu", "131072"),
    "nothing decompressed": ("-dn",),
    "no checks of its own": ("-nuc",),
}


@pytest.mark.parametrize("options", DCMSEND)
def test_dcmsend_sends_real_files(options: str, receiving: Receiving) -> None:
    """Every real file that dcmsend sends is taken as it says it has sent it."""
    files = [path for path in pydicom_files() if path.name.startswith(("SC_rgb", "MR_", "JPEG"))]
    names = [str(path) for path in files if path.name not in INCOMPLETE]
    done = run("dcmsend", receiving, "-v", "--no-halt", *DCMSEND[options], *names)
    said = done.stdout + done.stderr
    (sent,) = re.findall(r"with status SUCCESS\s*: (\d+)", said)
    assert int(sent) == len(receiving.recorder.objects) > 10
    assert re.findall(r"with status (?:FAILURE|WARNING)\s*: ([1-9]\d*)", said) == []


def test_storescu_repeats_a_study(receiving: Receiving, study: list[str]) -> None:
    """A study that is sent five times over is answered each time."""
    assert run("storescu", receiving, "--repeat", "5", *study).returncode == 0
    assert len(receiving.recorder.objects) == 5 * len(study)


def test_storescu_that_dies_leaves_nothing(receiving: Receiving, tmp_path: Path) -> None:
    """A sender that is killed inside an object leaves no file, and others are served."""
    pixels = bytes(64 << 20)
    paths = write_study(
        tmp_path / "large", series=1, instances=1, Rows=8_192, Columns=4_096, PixelData=pixels
    )
    command = [require("storescu"), "-aec", "INTU_SCP", "127.0.0.1", str(receiving.port)]
    sender = subprocess.Popen([*command, str(paths[0])])
    wait_until(lambda: receiving.spooled() != [])
    sender.kill()
    sender.wait()
    assert receiving.recorder.wait_for_ends() in (["connection_lost"], ["released"])
    wait_until(lambda: receiving.spooled() == [])
    assert run("echoscu", receiving).returncode == 0


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
