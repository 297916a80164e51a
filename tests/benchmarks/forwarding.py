"""How fast images go to a PACS, beside DCMTK's dcmsend to the same storescp.

Run: ``python -m tests.benchmarks.forwarding [--rounds N]``. It prints Markdown;
``results/forwarding.md`` keeps the last one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from intu_fhir.deliver.dicom import ObjectToSend, StorageScu
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.outcome import Delivered, InstanceOutcome
from intu_fhir.settings.schema import DicomDestination
from tests.benchmarks.objects import CT, INSTANCE, SMALL, Kind, numbered, part10
from tests.benchmarks.report import ground, table
from tests.support.outgoing import path_of
from tests.support.ports import free_port
from tests.support.programs import require
from tests.support.waiting import wait_until

COUNTS = {CT: 200, SMALL: 2_000}
AT_LEAST = 0.9
_TITLE = "PACS"


@contextmanager
def storescp() -> Iterator[DicomDestination]:
    """Run a storescp that reads what it gets and keeps nothing: the senders are measured."""
    destination = DicomDestination(
        type="dicom", host="127.0.0.1", port=free_port(), called_ae_title=_TITLE
    )
    command = [require("storescp"), "--ignore", "--max-pdu", "131072", str(destination.port)]
    process = subprocess.Popen(command, env=_environment())
    try:
        echo = StorageScu(destination).echo
        wait_until(lambda: isinstance(echo(), Delivered), 10, "storescp answers an echo")
        yield destination
    finally:
        process.terminate()
        process.wait(10)


def study(kind: Kind, folder: Path) -> list[ObjectToSend]:
    """Write the files of a study, as the file store has them."""
    return [_file(kind, folder, number) for number in range(COUNTS[kind])]


def _file(kind: Kind, folder: Path, number: int) -> ObjectToSend:
    uid, content = numbered(INSTANCE, number), part10(kind, 1, number)
    offset = len(part10_head(CTImageStorage, uid, ExplicitVRLittleEndian))
    path = folder / f"{number}.dcm"
    path.write_bytes(content)
    digest = sha256(content[offset:]).hexdigest()
    return ObjectToSend(CTImageStorage, uid, ExplicitVRLittleEndian, path, offset, digest)


def ours(destination: DicomDestination, objects: Sequence[ObjectToSend]) -> None:
    """Send as a delivery does: each file is compared with its digest first."""
    answers: list[InstanceOutcome] = []
    outcome = StorageScu(destination).send(objects, answers.append)
    if not isinstance(outcome, Delivered) or len(answers) != len(objects):
        raise RuntimeError(f"not all was delivered: {outcome}")


def dcmsend(destination: DicomDestination, objects: Sequence[ObjectToSend]) -> None:
    """Send with dcmsend over one association."""
    command = [require("dcmsend"), "--scan-directories", "--single-association"]
    command += ["--max-send-pdu", "131072", "--call", _TITLE, destination.host]
    folder = path_of(objects[0]).parent
    subprocess.run([*command, str(destination.port), str(folder)], env=_environment(), check=True)


def _environment() -> dict[str, str]:
    return {**os.environ, "TCP_NODELAY": "1"}  # 1 = DCMTK waits for no acknowledgement


Send = Callable[[DicomDestination, Sequence[ObjectToSend]], None]


def measured(kind: Kind, rounds: int) -> dict[str, list[float]]:
    """Return images per second of each sender, round by round, one after the other."""
    senders: dict[str, Send] = {"intu_fhir": ours, "dcmsend": dcmsend}
    rates: dict[str, list[float]] = {name: [] for name in senders}
    with tempfile.TemporaryDirectory() as folder, storescp() as destination:
        objects = study(kind, Path(folder))
        for number in range(rounds + 1):
            for name, send in senders.items():
                started = time.monotonic()
                send(destination, objects)
                if number:  # the first round warms the page cache
                    rates[name].append(len(objects) / (time.monotonic() - started))
    return rates


def main() -> int:
    """Measure and print; 1 = slower than it has to be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rows, worst = [], float("inf")
    for kind in COUNTS:
        rates = measured(kind, rounds)
        pairs = zip(rates["intu_fhir"], rates["dcmsend"], strict=True)
        ratio = statistics.median(one / other for one, other in pairs)
        middle = [f"{statistics.median(found):,.0f}" for found in rates.values()]
        rows.append([kind.name, f"{COUNTS[kind]:,}", *middle, f"{ratio:.2f}"])
        worst = min(worst, ratio)
    head = ("images", "of them", "intu_fhir, per second", "dcmsend, per second", "ratio")
    sys.stdout.write(f"# Forwarding to a PACS\n\n{ground()}.\n\n{table(head, rows)}\n")
    return int(worst < AT_LEAST)


if __name__ == "__main__":
    sys.exit(main())
