"""F-01: damaged data sets through the whole receiver, from the wire to the row.

``python -m tests.reliability.fuzz_data_sets --objects 100000 [--folder more/files]``

Originals are small real files in every transfer syntax at hand. Each answer must be one of the
table, come within a second and leave the receiver as it was. What is answered Success must have its
row and file, and must be a whole data set in the eyes of DCMTK's dcmdump, which is asked about some
of them. What dcmdump gives up on must be one of the few oddities that are read on purpose.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from intu_fhir.db.session import Database
from intu_fhir.errors import InvalidDataSet
from intu_fhir.files.part10 import part10_head
from intu_fhir.stage.elements import KNOWN_VRS, UNDEFINED, walk
from intu_fhir.stage.encodings import DEFAULT_LIMITS, open_data_set
from tests.reliability.fuzz_pdus import Measure, faults, soon
from tests.reliability.ground import Ground, ground
from tests.support.damaged import Damaged, Damages, Original, originals
from tests.support.mutants import OPTIMIST
from tests.support.programs import find
from tests.support.promises import examine
from tests.support.raw_peer import RawPeer, status_of, store_command
from tests.support.receivers import Receivers, RunningReceiver

STATUSES = frozenset({0x0000, 0x0117, 0xA900, 0xC000})
"""What content may be answered with; A700 would mean that something ran out."""
_CONTEXT_ID = 1
_PIECE = 16_000
_SLOW_SECONDS = 5.0
_IN_ONE_ASSOCIATION = 20


@dataclass
class Tally:
    """What a run found; ``wrong`` is empty where all is well."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    acknowledged: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    lenient: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the run in one line."""
        statuses = ", ".join(f"{s:04X}: {n}" for s, n in sorted(self.statuses.items()))
        return (
            f"{self.statuses.total()} data sets, answered {statuses}; slowest answer "
            f"{self.slowest * 1000:.0f} ms; {self.asked} of the taken ones judged by dcmdump, "
            f"which gives up on {self.lenient.total()} that are read on purpose "
            f"({', '.join(f'{name} {count}' for name, count in self.lenient.items())})"
        )


def fuzz(
    receivers: Receivers,
    place: Ground,
    sources: Sequence[Original],
    objects: int,
    seed: int,
    *,
    peers: int = 4,
    ask: int = 200,
    mutant: str = "",
) -> Tally:
    """Send damaged data sets to a receiver and judge what comes of it."""
    tally, lock = Tally(), threading.Lock()
    order = place.order(mutant)
    receiver = receivers.start(order)
    before = Measure.of(receiver)
    every = max(1, objects // (2 * ask)) if ask else objects + 1
    judged: list[Damaged] = []

    def play(one: int) -> None:
        for some in _batches(Damages(sources, seed * 1_000 + one)):
            for damaged, status, took in _send(receiver.port, some):
                with lock:
                    _note(tally, damaged, status, took)
                    if status == 0 and tally.statuses[0] % every == 0:
                        judged.append(damaged)
                    if tally.statuses.total() >= objects or tally.wrong:
                        return

    with ThreadPoolExecutor(peers) as pool:
        for done in [pool.submit(play, one) for one in range(peers)]:
            done.result()
    _judge(receiver, before, order.log, place, tally)
    receiver.kill()
    _ask_dcmdump(judged[:ask], tally)
    return tally


def _batches(damages: Damages) -> Iterator[list[Damaged]]:
    """Group what fits one association: the same SOP class and transfer syntax."""
    waiting: dict[tuple[str, str], list[Damaged]] = {}
    for one in damages:
        some = waiting.setdefault((one.sop_class_uid, one.transfer_syntax_uid), [])
        some.append(one)
        if len(some) == _IN_ONE_ASSOCIATION:
            yield list(some)
            some.clear()


def _send(port: int, some: list[Damaged]) -> Iterator[tuple[Damaged, int, float]]:
    """Send data sets over one association; give each with its status and the time it took."""
    first = some[0]
    with RawPeer(port) as peer:
        peer.associate(((_CONTEXT_ID, first.sop_class_uid, (first.transfer_syntax_uid,)),))
        for one in some:
            request = store_command(one.sop_instance_uid, sop_class_uid=one.sop_class_uid)
            peer.send_command(request, _CONTEXT_ID)
            for begin in range(0, len(one.data_set) or 1, _PIECE):
                piece = one.data_set[begin : begin + _PIECE]
                last = begin + _PIECE >= len(one.data_set)
                peer.send_data(piece, _CONTEXT_ID, last=last)
            begun = time.monotonic()
            yield one, status_of(peer.response()), time.monotonic() - begun
        peer.release()


def _note(tally: Tally, one: Damaged, status: int, took: float) -> None:
    tally.statuses[status] += 1
    tally.slowest = max(tally.slowest, took)
    if status not in STATUSES:
        tally.wrong.append(f"{one.damage}: answered {status:04X}")
    if took > _SLOW_SECONDS:
        tally.wrong.append(f"{one.damage}: answered after {took:.1f} s")
    if status == 0:
        tally.acknowledged[one.sop_instance_uid] = sha256(one.data_set).hexdigest()


def _judge(
    receiver: RunningReceiver, before: Measure, log: str, place: Ground, tally: Tally
) -> None:
    if not receiver.is_alive():
        tally.wrong.append("the receiver has died")
        return
    if not soon(lambda: Measure.of(receiver).threads <= before.threads):
        tally.wrong.append("threads hang")
    grown = Measure.of(receiver).resident_bytes - before.resident_bytes
    if grown > 128 << 20:
        tally.wrong.append(f"memory has grown by {grown >> 20} MB")
    tally.wrong += [f"logged: {line[:200]}" for line in faults(log)]
    database = Database(place.url)
    broken, _ = examine(database, place.folder / "files", tally.acknowledged)
    database.close()
    for name, found in vars(broken).items():
        tally.wrong += [f"{name}: {one}" for one in found[:5]]


def _ask_dcmdump(judged: list[Damaged], tally: Tally) -> None:
    """Have DCMTK read what was taken; what it cannot read to its end was not whole."""
    for one in judged:
        said = dcmdump_says(one)
        if said is None:
            return
        tally.asked += 1
        if said and (leniency := read_on_purpose(one)):
            tally.lenient[leniency] += 1
        elif said:
            tally.wrong.append(f"{one.damage}: taken, and dcmdump says {said}")


def read_on_purpose(one: Damaged) -> str:
    """Return by which leniency of ours a data set is whole that DCMTK gives up on, or nothing.

    Such data sets are met with in practice, and every byte of them is accounted for.
    """
    try:
        data_set, encoding = open_data_set(one.data_set, one.transfer_syntax_uid, DEFAULT_LIMITS)
        elements = list(walk(data_set, encoding, DEFAULT_LIMITS))
    except InvalidDataSet:
        return ""
    outer = [element for element in elements if element.depth == 0]
    if any(element.vr and element.vr not in KNOWN_VRS for element in elements):
        return "a value representation that nobody knows"
    if encoding.explicit and any(not one.vr and one.tag >> 16 != 0xFFFE for one in elements):
        return "an element of the other form"
    if any(one.tag >= two.tag for one, two in itertools.pairwise(outer)):
        return "tags out of order"
    if any(one.length == UNDEFINED and one.vr in {b"OB", b"OW"} for one in elements):
        return "fragments in another element than Pixel Data"
    if any(one.length == UNDEFINED and _is_private_creator(one.tag) for one in elements):
        return "a private creator that holds items"
    if any(element.tag >> 16 == 0 for element in elements):
        return "an element of group 0000"
    return ""


def _is_private_creator(tag: int) -> bool:
    """Say whether a tag reserves a block of private elements (PS3.5 7.8.1)."""
    return tag >> 16 & 1 != 0 and 0x10 <= tag & 0xFFFF <= 0xFF


def dcmdump_says(one: Original | Damaged) -> str | None:
    """Return what keeps DCMTK from reading a data set, if something does; None without DCMTK."""
    dcmdump = find("dcmdump")
    if dcmdump is None:
        return None
    uids = (one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid)
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(part10_head(*uids) + one.data_set)
        file.flush()
        done = subprocess.run([dcmdump, file.name], capture_output=True, check=False)
    if done.returncode == 0:
        return ""
    complaints = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line]
    return complaints[-1].replace(file.name, "the file") if complaints else "nothing, and fails"


def main() -> int:
    """Run and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="more originals")
    parser.add_argument("--ask", type=int, default=1_000, help="how many to show to dcmdump")
    parser.add_argument("--mutant", choices=["", OPTIMIST], default="")
    given = parser.parse_args()
    sources = originals() + (originals(given.folder) if given.folder else [])
    sources = [one for one in sources if not dcmdump_says(one)]
    syntaxes = {one.transfer_syntax_uid for one in sources}
    begun = time.monotonic()
    with Receivers() as receivers, ground("sqlite") as place:
        tally = fuzz(
            receivers,
            place,
            sources,
            given.objects,
            given.seed,
            ask=given.ask,
            mutant=given.mutant,
        )
    took = time.monotonic() - begun
    print(
        f"{len(sources)} originals in {len(syntaxes)} transfer syntaxes; {tally.line()}; ", end=""
    )
    print(f"seed {given.seed}, {took:.0f} s")
    for wrong in tally.wrong[:20]:
        print(f"WRONG: {wrong}")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
