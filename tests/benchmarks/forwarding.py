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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless

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
STUDIES, COMPRESSED = 400, 100
AT_LEAST = 0.9
_TITLE = "PACS"


@contextmanager
def storescp() -> Iterator[DicomDestination]:
    """Run a storescp that reads what it gets and keeps nothing: the senders are measured.

    It takes uncompressed images alone.
    """
    destination = DicomDestination(
        type="dicom",
        host="127.0.0.1",
        port=free_port(),
        called_ae_title=_TITLE,
        transcode="uncompressed",
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


def one_by_one(destination: DicomDestination, objects: Sequence[ObjectToSend]) -> None:
    """Send each image as a study, over an association of its own."""
    _send_studies(StorageScu(destination), objects)


def kept(destination: DicomDestination, objects: Sequence[ObjectToSend]) -> None:
    """Send each image as a study, over the association of the study before."""
    _send_studies(StorageScu(destination, idle_seconds=60), objects)


def _send_studies(scu: StorageScu, objects: Sequence[ObjectToSend]) -> None:
    with closing(scu):
        for one in objects:
            delivered = isinstance(scu.send([one], lambda _: None), Delivered)
            if not delivered:
                raise RuntimeError("not all was delivered")


def dcmsend_each(destination: DicomDestination, objects: Sequence[ObjectToSend]) -> None:
    """Start dcmsend for each image, as a script does for each study."""
    command = [require("dcmsend"), "--call", _TITLE, destination.host, str(destination.port)]
    for one in objects:
        subprocess.run([*command, str(path_of(one))], env=_environment(), check=True)


def compressed(folder: Path) -> list[ObjectToSend]:
    """Write the files of a study of CT images, compressed by DCMTK in JPEG-LS."""
    made = []
    for number in range(COMPRESSED):
        plain = _file(CT, folder, number)
        path = folder / f"{number}.jls"
        command = [require("dcmcjpls"), str(path_of(plain)), str(path)]
        subprocess.run(command, check=True)
        path_of(plain).unlink()
        content = path.read_bytes()
        offset = 144 + int.from_bytes(content[140:144], "little")
        digest = sha256(content[offset:]).hexdigest()
        uid = plain.sop_instance_uid
        made.append(ObjectToSend(CTImageStorage, uid, JPEGLSLossless, path, offset, digest))
    return made


Send = Callable[[DicomDestination, Sequence[ObjectToSend]], None]
SENDERS: dict[str, Send] = {"intu_fhir": ours, "dcmsend": dcmsend}
BY_STUDY: dict[str, Send] = {
    "association kept": kept,
    "one for each": one_by_one,
    "dcmsend for each": dcmsend_each,
}


Make = Callable[[Path], list[ObjectToSend]]


def measured(make: Make, senders: Mapping[str, Send], rounds: int) -> dict[str, list[float]]:
    """Return images per second of each sender, round by round, one after the other."""
    rates: dict[str, list[float]] = {name: [] for name in senders}
    with tempfile.TemporaryDirectory() as folder, storescp() as destination:
        objects = make(Path(folder))
        for number in range(rounds + 1):
            for name, send in senders.items():
                started = time.monotonic()
                send(destination, objects)
                if number:  # the first round warms the page cache
                    rates[name].append(len(objects) / (time.monotonic() - started))
    return rates


def median_ratio(rates: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Return how many times the first does what the second does, middle of the rounds."""
    pairs = zip(rates[one], rates[other], strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)


def medians(rates: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the middle rate of each sender."""
    return [f"{statistics.median(found):,.0f}" for found in rates.values()]


def studies_part(rounds: int) -> tuple[str, bool]:
    """Measure studies of one image; say whether a kept association is worth it."""
    rates = measured(lambda folder: study(SMALL, folder)[:STUDIES], BY_STUDY, rounds)
    ratio = median_ratio(rates, "association kept", "one for each")
    head = ("studies of one small image", *(f"{name}, per second" for name in BY_STUDY), "gain")
    return table(head, [[f"{STUDIES:,}", *medians(rates), f"{ratio:.1f}"]]), ratio > 1


def compressed_part(rounds: int) -> str:
    """Measure images that are decompressed on their way."""
    rates = measured(compressed, SENDERS, rounds)
    ratio = median_ratio(rates, *SENDERS)
    head = ("images", "of them", *(f"{name}, per second" for name in SENDERS), "ratio")
    return table(head, [["CT in JPEG-LS", f"{COMPRESSED}", *medians(rates), f"{ratio:.2f}"]])


def main() -> int:
    """Measure and print; 1 = slower than it has to be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rows, worst = [], float("inf")
    for kind in COUNTS:
        rates = measured(partial(study, kind), SENDERS, rounds)
        ratio = median_ratio(rates, *SENDERS)
        rows.append([kind.name, f"{COUNTS[kind]:,}", *medians(rates), f"{ratio:.2f}"])
        worst = min(worst, ratio)
    head = ("images", "of them", "intu_fhir, per second", "dcmsend, per second", "ratio")
    by_study, is_worth_it = studies_part(rounds)
    tables = (table(head, rows), by_study, compressed_part(rounds))
    parts = "\n\n".join(("# Forwarding to a PACS", f"{ground()}.", *tables))
    sys.stdout.write(f"{parts}\n")
    return int(worst < AT_LEAST or not is_worth_it)


if __name__ == "__main__":
    sys.exit(main())
