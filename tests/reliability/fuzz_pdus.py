"""N-07: a million damaged PDUs, through the protocol modules alone and through real sockets.

``python -m tests.reliability.fuzz_pdus --pdus 10000000 --inside``
``python -m tests.reliability.fuzz_pdus --pdus 1000000``

Inside, nothing but our own error may come out, and the buffer stays bounded. Over sockets, the
receiver is the product's own in a process of its own: it lives on, answers an honest C-ECHO within
a second all along, logs no fault of its own, and has no row, file, thread or descriptor more at
the end.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import select
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, quarantine, storage_commitments
from intu_fhir.receive.associate import AssociateRequest
from intu_fhir.receive.association import Association, Message
from intu_fhir.receive.dimse import SUCCESS
from intu_fhir.receive.negotiation import Agreement, Policy, negotiate
from intu_fhir.receive.upper_layer import Abort, Fragment, PduReader, ReleaseRequest
from intu_fhir.receive.violation import ProtocolViolation
from tests.reliability.ground import Ground, ground
from tests.support.conversations import Conversations
from tests.support.mutants import TRUSTING, trust_lengths
from tests.support.raw_peer import RawPeer, status_of
from tests.support.receivers import Receivers, RunningReceiver

_LONGEST = 16_384
_POLICY = Policy("INTU_SCP", None, frozenset(), _LONGEST, storage_commitment=True)
_ENDINGS = {0: "closed", 2: "accepted", 3: "rejected", 4: "answered", 6: "released", 7: "aborted"}
_READ_SECONDS = 20.0
_ANSWER_SECONDS = 0.25
_ECHO_SECONDS = 1.0
_FAULTS = ("internal_error", "Traceback", "Exception in thread", "accept_failed", "not_recorded")


@dataclass
class Tally:
    """What a run found; ``wrong`` is empty where all is well.

    Args:
        requests: for storage commitment, which stayed whole and were taken.
    """

    pdus: int = 0
    conversations: int = 0
    requests: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_echo: float = 0.0

    def line(self) -> str:
        """Return the run in one line."""
        outcomes = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        echo = f"; slowest honest C-ECHO {self.slowest_echo * 1000:.0f} ms" * bool(
            self.slowest_echo
        )
        asked = f"; {self.requests} requests for storage commitment taken" * bool(self.requests)
        return f"{self.pdus} PDUs in {self.conversations} conversations: {outcomes}{echo}{asked}"


# ---- inside


def fuzz_inside(pdus: int, seed: int) -> Tally:
    """Put damaged conversations through the protocol modules, without sockets."""
    tally = Tally()
    for conversation in Conversations(seed):
        tally.outcomes[_outcome(conversation, tally)] += 1
        tally.conversations += 1
        tally.pdus += len(conversation)
        if tally.pdus >= pdus or len(tally.wrong) > 10:
            return tally
    raise AssertionError("conversations do not end")


def _outcome(conversation: list[bytes], tally: Tally) -> str:
    try:
        return converse(conversation)
    except ProtocolViolation:
        return "violation"
    except Exception as error:  # noqa: BLE001  (that there is none is what is to be shown)
        tally.wrong.append(f"{type(error).__name__}: {error}")
        return "fault"


def converse(conversation: list[bytes]) -> str:
    """Play a receiver; return how the conversation ended."""
    reader, association = PduReader(_LONGEST), None
    for piece in conversation:
        for event in reader.feed(piece):
            if isinstance(event, AssociateRequest):
                decision = negotiate(event, _POLICY)
                if not isinstance(decision, Agreement):
                    return "rejected"
                association = Association(decision, _LONGEST)
                reader.established()
            elif isinstance(event, Abort):
                return "aborted by peer"
            elif isinstance(event, ReleaseRequest):
                return "released"
            elif association is not None and isinstance(event, Fragment):
                step = association.take(event)
                if isinstance(step, Message):
                    association.response(step, step.refusal or SUCCESS)
        if len(reader.space()) > 2 * (_LONGEST + 6):
            raise MemoryError("the buffer has grown beyond two PDUs")
    return "open"


# ---- over sockets


@dataclass(frozen=True)
class Measure:
    """What a receiver holds."""

    threads: int
    descriptors: int
    resident_bytes: int

    @classmethod
    def of(cls, receiver: RunningReceiver) -> Measure:
        """Look at a receiver's process."""
        place = Path(f"/proc/{receiver.pid}")
        status = dict(
            line.split(":", 1)
            for line in (place / "status").read_text().splitlines()
            if ":" in line
        )
        resident = int(status["VmRSS"].split()[0]) * 1024
        descriptors = len(list((place / "fd").iterdir()))
        return cls(len(receiver.threads()), descriptors, resident)


def fuzz_sockets(
    receivers: Receivers, place: Ground, pdus: int, seed: int, *, peers: int = 8, mutant: str = ""
) -> Iterator[Tally]:
    """Put damaged conversations to a receiver; give the tally now and then, and at the end."""
    tally, lock = Tally(), threading.Lock()
    order = place.order(mutant)
    receiver = receivers.start(order)
    _echo(receiver.port)
    before = Measure.of(receiver)

    def play(one: int) -> None:
        for conversation in Conversations(seed * 1_000 + one):
            outcome, sent = _play(receiver.port, conversation)
            with lock:
                tally.outcomes[outcome] += 1
                tally.conversations += 1
                tally.pdus += sent
                if tally.pdus >= pdus or tally.wrong:
                    return
                if outcome == "no end":
                    tally.wrong.append("a connection that does not end")

    with ThreadPoolExecutor(peers) as pool:
        playing = [pool.submit(play, one) for one in range(peers)]
        while not all(one.done() for one in playing):
            _watch(receiver, tally)
            yield tally
            threading.Event().wait(1.0)
    for one in playing:
        one.result()
    _judge(receiver, before, order.log, place, tally)
    receiver.kill()
    yield tally


def _play(port: int, conversation: list[bytes]) -> tuple[str, int]:
    """Send a conversation; return how it ended and how many PDUs went out."""
    sent, outcome = 0, "closed"
    with RawPeer(port) as peer:
        peer.socket.settimeout(_READ_SECONDS)
        with contextlib.suppress(OSError):
            for piece in conversation:
                peer.send(piece)
                sent += 1
                if sent == 1:  # who does not wait for the answer to its request is cut off there
                    select.select([peer.socket], [], [], _ANSWER_SECONDS)
            peer.socket.shutdown(socket.SHUT_WR)
        try:
            while (kind := peer.read()[0]) != 0:
                outcome = _ENDINGS.get(kind, "other")
        except TimeoutError:
            outcome = "no end"
    return outcome, max(sent, 1)


def _echo(port: int) -> float:
    """Ask an honest C-ECHO; return how long it took, connecting included."""
    begun = time.monotonic()
    with RawPeer(port) as honest:
        honest.associate()
        assert status_of(honest.echo()) == 0
        honest.release()
    return time.monotonic() - begun


def _watch(receiver: RunningReceiver, tally: Tally) -> None:
    if not receiver.is_alive():
        tally.wrong.append("the receiver has died")
        return
    try:
        took = _echo(receiver.port)
    except (OSError, AssertionError) as error:
        tally.wrong.append(f"an honest peer is not served: {type(error).__name__}")
        return
    tally.slowest_echo = max(tally.slowest_echo, took)


def _judge(
    receiver: RunningReceiver, before: Measure, log: str, place: Ground, tally: Tally
) -> None:
    """Look for what a run may not leave behind."""
    wrong = tally.wrong
    if not receiver.is_alive():
        return
    if not soon(lambda: Measure.of(receiver).threads <= before.threads):
        wrong.append(f"{Measure.of(receiver).threads - before.threads} threads hang")
    if not soon(lambda: Measure.of(receiver).descriptors <= before.descriptors + 2):
        wrong.append("descriptors are left open")
    grown = Measure.of(receiver).resident_bytes - before.resident_bytes
    if grown > 64 << 20:
        wrong.append(f"memory has grown by {grown >> 20} MB")
    if tally.slowest_echo > _ECHO_SECONDS:
        wrong.append(f"an honest C-ECHO took {tally.slowest_echo:.1f} s")
    wrong += [f"logged: {line[:200]}" for line in faults(log)]
    spooled = list((place.folder / "files" / "incoming").iterdir())
    wrong += [f"left in the spool: {path.name}" for path in spooled]
    database = Database(place.url)
    with database.read() as connection:
        for table in (instances, quarantine):
            if rows := _rows(connection, table):
                wrong.append(f"{rows} rows in {table.name}")
        tally.requests = _rows(connection, storage_commitments)
    database.close()


def _rows(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def faults(log: str) -> list[str]:
    """Return lines of a log that tell of a fault of the program, ten at most."""
    with Path(log).open(encoding="utf-8", errors="replace") as lines:
        faults = (line for line in lines if any(fault in line for fault in _FAULTS))
        return list(itertools.islice(faults, 10))


def soon(condition: Callable[[], bool]) -> bool:
    """Say whether something comes true within twenty seconds."""
    for _ in range(200):
        if condition():
            return True
        threading.Event().wait(0.1)
    return False


def main() -> int:
    """Run and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pdus", type=int, default=100_000)
    parser.add_argument("--inside", action="store_true", help="without sockets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutant", choices=["", TRUSTING], default="")
    given = parser.parse_args()
    begun, tally = time.monotonic(), Tally()
    if given.inside:
        with trust_lengths() if given.mutant else contextlib.nullcontext():
            tally = fuzz_inside(given.pdus, given.seed)
    else:
        with Receivers() as receivers, ground("sqlite") as place:
            runs = fuzz_sockets(receivers, place, given.pdus, given.seed, mutant=given.mutant)
            for number, tally in enumerate(runs):
                if number % 60 == 59:
                    print(f"{tally.pdus} so far", file=sys.stderr)
    took = time.monotonic() - begun
    print(f"{tally.line()}; seed {given.seed}, {took:.0f} s, {tally.pdus / took:.0f} PDUs/s")
    for wrong in tally.wrong:
        print(f"WRONG: {wrong}")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
