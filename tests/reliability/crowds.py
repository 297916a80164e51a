"""N-01 to N-05: what an honest peer feels while many others misbehave.

``python -m tests.reliability.crowds [--seconds 10]``
The program runs as a site would run it, with shorter deadlines and a limit of 100 MB for an object;
the crowds of N-01 come once more against all limits as they are shipped. Each crowd does its worst
from addresses of its own. Meanwhile an honest peer opens an association for a C-ECHO twenty times a
second on the port that is attacked: each has to be answered within a second, the process may not
grow by more than the crowd's bound at any moment, and nothing may be left in the spool.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from intu_fhir.db import migrate
from tests.support.certificates import Authority
from tests.support.databases import sqlite_url
from tests.support.honest import Honest
from tests.support.ports import free_port
from tests.support.raw_peer import (
    COMMAND,
    CT_ID,
    P_DATA,
    RawPeer,
    associate_request,
    pdu,
    pdv,
    store_command,
)
from tests.support.site_folder import write_site
from tests.support.studies import uid

SHIPPED: dict[str, float] = {}
LIMITS: dict[str, float] = {
    "max_object_bytes": 100_000_000,
    "pdu_seconds": 3,
    "message_seconds": 3,
    "handshake_seconds": 3,
}
"""How many may come, and stay, is as shipped: a crowd that fits into a limit shows nothing."""
SOURCES = tuple(f"127.0.0.{n}" for n in range(2, 6))
MEGABYTES = {"N-01": 40, "N-02": 20, "N-03": 5, "N-04": 20, "N-05": 40}
"""How much the process may grow: threads and TLS cost something, what a PDU claims nothing."""
OF_REQUESTS = "N-03 50 requests full of items"
OF_ITEMS = "N-04 50 peers that send empty items"
MORE_MEGABYTES = {OF_REQUESTS: 100, OF_ITEMS: 40}
"""50 times a request of 100 kB, and what is read from it; 50 times an object of a megabyte."""
_PIECE = bytes(60_000)
_EMPTY_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
_UID = uid("study", 1, 1)


@dataclass(frozen=True)
class Site:
    """The program at work, one port in clear and one with TLS."""

    pid: int
    folder: Path
    port: int
    tls_port: int
    client: ssl.SSLContext

    def megabytes(self) -> float:
        """Return the memory of the process, and begin to look for its peak."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.peak()

    def peak(self) -> float:
        """Return the most memory that the process had since the last look, between two too."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(one for one in lines if one.startswith("VmHWM")).split()[1]) / 1024

    def spooled(self) -> int:
        """Return how many files are being written."""
        return len(list((self.folder / "files" / "incoming").iterdir()))


@contextlib.contextmanager
def site(limits: dict[str, float] | None = None) -> Iterator[Site]:
    """Run the program on a database of its own, with other limits if wanted."""
    limits = LIMITS if limits is None else limits
    with tempfile.TemporaryDirectory(prefix="intu-crowds-") as name:
        folder, authority = Path(name), Authority(Path(name) / "ca")
        server = authority.issue("server")
        port, tls_port = free_port(), free_port()
        url = sqlite_url(folder / "staging.db")
        migrate.upgrade(url)
        source = {"type": "dicom", "host": "127.0.0.1", "port": port, "ae_title": "INTU_SCP"}
        channel = {"source": source}
        write_site(folder, database=url, port=port, channel=channel, receiver=limits)
        _add_tls_channel(folder, tls_port, server.cert_file, server.key_file)
        program = str(Path(sys.executable).with_name("intu-fhir"))
        command = [program, "receive", "--config", name, "--log-level", "ERROR"]
        client = ssl.create_default_context(cafile=authority.ca_file)
        with subprocess.Popen(command) as process:
            try:
                one = Site(process.pid, folder, port, tls_port, client)
                Honest(one.tls_port, client).wait_for_first()
                yield one
            finally:
                process.terminate()


def _add_tls_channel(folder: Path, port: int, certificate: Path, key: Path) -> None:
    place = folder / "channels" / "secure"
    place.mkdir()
    (place / "channel.yaml").write_text(
        "id: secure\nsource:\n  type: dicom\n  host: 127.0.0.1\n  ae_title: INTU_SCP\n"
        f"  port: {port}\n  tls:\n    cert_file: {certificate}\n    key_file: {key}\n"
    )


Crowd = Callable[[Site, contextlib.ExitStack, threading.Event], None]


def _peers(
    one: Site, stack: contextlib.ExitStack, count: int, addresses: int = 4
) -> Iterator[RawPeer]:
    """Connect from some addresses in turn."""
    sources = itertools.cycle(SOURCES[:addresses])
    for source in itertools.islice(sources, count):
        with contextlib.suppress(OSError):
            yield stack.enter_context(RawPeer(one.port, source=source))


def idle_connections(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Open a thousand connections and say nothing; open them again when they are closed."""
    for _ in _peers(one, stack, 1_000):
        if over.is_set():
            return
    over.wait()


def idle_associations(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Hold two hundred associations."""
    for peer in _peers(one, stack, 200):
        peer.send(associate_request())
        peer.read()
    over.wait()


def idle_pair(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Hold as many associations as there are places, from two addresses."""
    for peer in _peers(one, stack, 100, addresses=2):
        peer.send(associate_request())
        peer.read()
    over.wait()


def stalled(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Fifty at a time: stop inside a PDU until aborted."""
    while not over.is_set():
        with contextlib.ExitStack() as round_:
            peers = list(_peers(one, round_, 50))
            for peer in peers:
                peer.associate()
                peer.send(struct.pack(">BxI", P_DATA, 16_000) + bytes(20))
            for peer in peers:
                peer.is_ended()


def dripping(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Fifty at a time: a byte of the association request each tenth of a second."""
    request = associate_request()
    while not over.is_set():
        with contextlib.ExitStack() as round_:
            peers = list(_peers(one, round_, 50))
            with contextlib.suppress(OSError):
                for byte in request:
                    for peer in peers:
                        peer.send(bytes((byte,)))
                    over.wait(0.1)


def dripping_objects(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Fifty at a time: a whole PDU of one byte each fifth of a second inside an object."""
    while not over.is_set():
        with contextlib.ExitStack() as round_, contextlib.suppress(OSError):
            peers = list(_peers(one, round_, 50))
            for peer in peers:
                peer.associate()
                peer.send_command(store_command(_UID))
            while not over.wait(0.2):
                for peer in peers:
                    peer.send_data(b"1", last=False)


def crumbs(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Fifty at a time: PDUs full of fragments that bring nothing."""
    flood = pdu(P_DATA, pdv(CT_ID, 0, b"") * 2_500)
    while not over.is_set():
        with contextlib.ExitStack() as round_, contextlib.suppress(OSError):
            peers = list(_peers(one, round_, 50))
            for peer in peers:
                peer.associate()
                peer.send_command(store_command(_UID))
            while not over.is_set():
                for peer in peers:
                    peer.send(flood)


def long_pdus(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Announce PDUs of 500 MB and send them as far as they are taken."""
    while not over.is_set():
        with contextlib.ExitStack() as round_, contextlib.suppress(OSError):
            for peer in _peers(one, round_, 8):
                peer.associate()
                peer.send(struct.pack(">BxI", P_DATA, 500_000_000))
                for _ in range(100):
                    peer.send(_PIECE)


def _full_request() -> bytes:
    """Return an A-ASSOCIATE-RQ that is just taken, and takes as long to read as any."""
    syntaxes = tuple(f"1.2.840.10008.1.2.4.{n}" for n in range(900, 928))
    contexts = ((n, f"1.2.840.10008.5.1.4.1.1.{n}", syntaxes) for n in range(1, 256, 2))
    return associate_request(tuple(contexts))


def full_requests(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Fifty at a time: ask for as much as an A-ASSOCIATE-RQ may hold."""
    request = _full_request()
    while not over.is_set():
        with contextlib.ExitStack() as round_, contextlib.suppress(OSError):
            peers = list(_peers(one, round_, 50))
            for peer in peers:
                peer.send(request)
            for peer in peers:
                peer.read()


def endless_objects(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Send an object that never ends, until the association does."""
    while not over.is_set():
        with contextlib.ExitStack() as round_, contextlib.suppress(OSError):
            for peer in _peers(one, round_, 1):
                peer.associate()
                peer.send_command(store_command(_UID))
                while not over.is_set():
                    peer.send_data(_PIECE, last=False)


def endless_commands(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Send a command set that never ends."""
    while not over.is_set():
        with contextlib.ExitStack() as round_, contextlib.suppress(OSError):
            for peer in _peers(one, round_, 8):
                peer.associate()
                for _ in range(100):
                    peer.send_pdvs(pdv(CT_ID, COMMAND, bytes(8_000)))


def empty_items(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Fifty at a time: whole objects of a megabyte that is empty items."""

    def send(peer: RawPeer) -> None:
        with contextlib.suppress(OSError, AssertionError):
            peer.associate()
            while not over.is_set():
                peer.send_command(store_command(_UID))
                for piece in pieces:
                    peer.send_data(piece, last=piece is pieces[-1])
                peer.response()

    items = _EMPTY_ITEM * 125_000
    whole = struct.pack("<HH2sHI", 0x0008, 0x1115, b"SQ", 0, len(items)) + items
    pieces = [whole[at : at + len(_PIECE)] for at in range(0, len(whole), len(_PIECE))]
    threads = [threading.Thread(target=send, args=(peer,)) for peer in _peers(one, stack, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def pipelined(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Send three hundred commands and objects without reading an answer."""
    while not over.is_set():
        with contextlib.ExitStack() as round_, contextlib.suppress(OSError):
            for peer in _peers(one, round_, 1):
                peer.associate()
                for _ in range(300):
                    peer.send_command(store_command(_UID))
                    peer.send_data(_PIECE)


def silent_tls(one: Site, stack: contextlib.ExitStack, over: threading.Event) -> None:
    """Two hundred connections to the TLS port: half silent, half stop inside a ClientHello."""
    for number in range(200):
        peer = stack.enter_context(RawPeer(one.tls_port, source=f"127.0.0.{number % 4 + 2}"))
        if number % 2:
            peer.send(bytes.fromhex("160301020001"))
    over.wait()


CROWDS: dict[str, tuple[str, Crowd]] = {
    "N-01 1,000 idle connections": ("clear", idle_connections),
    "N-01 200 idle associations": ("clear", idle_associations),
    "N-01 100 idle associations of two addresses": ("clear", idle_pair),
    "N-02 50 peers that stop inside a PDU": ("clear", stalled),
    "N-02 50 peers that send a byte at a time": ("clear", dripping),
    "N-02 50 peers that send an object byte by byte": ("clear", dripping_objects),
    "N-03 PDUs of 500 MB": ("clear", long_pdus),
    OF_REQUESTS: ("clear", full_requests),
    "N-04 an object without end": ("clear", endless_objects),
    "N-04 command sets without end": ("clear", endless_commands),
    "N-04 50 peers that send empty fragments": ("clear", crumbs),
    OF_ITEMS: ("clear", empty_items),
    "N-04 300 pipelined objects": ("clear", pipelined),
    "N-05 200 silent TLS clients": ("tls", silent_tls),
}


@dataclass(frozen=True)
class Felt:
    """What a crowd cost others; times in seconds."""

    crowd: str
    echoes: int
    failed: int
    slowest: float
    megabytes: float
    spooled: int

    def is_bad(self, seconds: float = 1.0) -> bool:
        """Say whether somebody was kept out, or waited so long, or too much was taken or left."""
        return bool(
            self.failed
            or self.spooled
            or self.slowest >= seconds
            or not self.echoes
            or self.megabytes >= bound(self.crowd)
        )

    def line(self) -> str:
        """Return a line of the table."""
        return (
            f"| {self.crowd} | {self.echoes} | {self.failed} | {self.slowest:.2f} s "
            f"| {self.megabytes:+.0f} MB | {self.spooled} |"
        )


def bound(crowd: str) -> float:
    """Return by how many megabytes a crowd may make the process grow."""
    return MORE_MEGABYTES.get(crowd) or MEGABYTES[crowd.split()[0]]


def bear(one: Site, name: str, seconds: float) -> Felt:
    """Let a crowd loose and be honest meanwhile."""
    port, crowd = CROWDS[name]
    honest = Honest(one.tls_port, one.client) if port == "tls" else Honest(one.port)
    over, before = threading.Event(), one.megabytes()
    with contextlib.ExitStack() as stack:
        thread = threading.Thread(target=crowd, args=(one, stack, over))
        thread.start()
        most = honest.echo_for(seconds, one.peak)
        over.set()
        thread.join()
    honest.wait_for_first()
    until = time.monotonic() + 5
    while one.spooled() and time.monotonic() < until:
        time.sleep(0.05)
    return Felt(name, honest.answered, honest.failed, honest.slowest, most - before, one.spooled())


def main() -> int:
    """Bear every crowd; exit 1 if one of them cost others more than it may."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each crowd")
    options = parser.parse_args()
    print("| Crowd | C-ECHOs answered | not | Slowest | Memory, at most | Left in the spool |")
    print("| --- | --- | --- | --- | --- | --- |")
    with site() as one:
        found = [bear(one, name, options.seconds) for name in CROWDS]
    with site(SHIPPED) as one:
        found += [bear(one, name, options.seconds) for name in CROWDS if name.startswith("N-01")]
    print(*(felt.line() for felt in found), sep="\n")
    return any(felt.is_bad() for felt in found)


if __name__ == "__main__":
    sys.exit(main())
