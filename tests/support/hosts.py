"""Machines of a network, made of network namespaces: addresses, names and routes of their own.

All of it belongs to one process of the tests: its number is part of every name. What runs on a
host dies with that process (``--pdeathsig``); namespaces of a process that is gone are removed by
the next one that makes some.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support.programs import find, missing, require

_NAMESPACE = re.compile(r"^intu-(\d+)-\S+", re.MULTILINE)
_LINK = re.compile(r"\b((?:intu(?P<bridge>\d+)b|iv(?P<port>\d+)n\d+))(?=[:@])")
_NOBODY = "02:00:00:00:00:01"
_NAMED = 'echo "$0" > /proc/sys/kernel/hostname; exec "$@"'


@dataclass(frozen=True)
class Host:
    """One machine.

    Args:
        address: its IPv4 address; the tests' own is the first of the network.
    """

    name: str
    namespace: str
    address: str

    @property
    def within(self) -> tuple[str, ...]:
        """What has to stand before a command so that it runs here, in the same process."""
        end_with_us = (require("setpriv"), "--pdeathsig", "KILL")
        named = (require("unshare"), "--uts", "sh", "-c", _NAMED, self.name)
        return _ip(), "netns", "exec", self.namespace, *end_with_us, *named

    def start(
        self, command: Sequence[str], log: IO[bytes], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a command here."""
        return subprocess.Popen(
            [*self.within, *command], stdout=log, stderr=log, env=dict(environment)
        )

    def part_from(self, other: Host) -> None:
        """Let packets between both vanish, without a word to either."""
        for here, there in ((self, other), (other, self)):
            to = ("neigh", "replace", there.address, "lladdr", _NOBODY, "nud", "permanent")
            _do("-n", here.namespace, *to, "dev", "eth0")

    def join(self, other: Host) -> None:
        """Let packets between both arrive again."""
        for here, there in ((self, other), (other, self)):
            _do("-n", here.namespace, "neigh", "del", there.address, "dev", "eth0")


@dataclass(frozen=True)
class Network:
    """Hosts behind one switch, to which the tests are connected, too."""

    hosts: Mapping[str, Host]
    address: str
    range: str

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]


@contextlib.contextmanager
def network(*names: str) -> Iterator[Network]:
    """Give hosts of these names, or skip the test where the system does not let them be made."""
    for program in ("ip", "unshare", "setpriv"):
        require(program)
    try:
        yield _made(names)
    finally:
        _remove(os.getpid())


def remove_leftovers() -> None:
    """Remove what processes have left behind that are no more."""
    owners = {int(one[1]) for one in _NAMESPACE.finditer(_do("netns", "list"))}
    owners |= {owner for _, owner in _links()}
    for owner in owners:
        if not Path(f"/proc/{owner}").exists():
            _remove(owner)


def _made(names: Sequence[str]) -> Network:
    try:
        remove_leftovers()
        made = _make(names)
        for host in made.hosts.values():
            subprocess.run([*host.within, "true"], check=True, capture_output=True, timeout=30)
    except subprocess.CalledProcessError as error:
        # The gate may make them; there, a system that does not let it would hide all these tests.
        said = error.stderr if isinstance(error.stderr, str) else error.stderr.decode()
        missing(f"a system that lets hosts be made of namespaces: {said.strip()}")
    return made


def _make(names: Sequence[str]) -> Network:
    owner = os.getpid()
    bridge, prefix = f"intu{owner}b", _free_prefix()
    _do("link", "add", bridge, "type", "bridge")
    _do("addr", "add", f"{prefix}.1/24", "dev", bridge)
    _do("link", "set", bridge, "up")
    hosts = {}
    for number, name in enumerate(names, 2):
        host = Host(name, f"intu-{owner}-{name}", f"{prefix}.{number}")
        _connect(host, bridge, f"iv{owner}n{number}")
        hosts[name] = host
    return Network(hosts, f"{prefix}.1", f"{prefix}.0/24")


def _connect(host: Host, bridge: str, port: str) -> None:
    """Make the host and plug it into the switch."""
    _do("netns", "add", host.namespace)
    peer = ("peer", "name", "eth0", "netns", host.namespace)
    _do("link", "add", port, "type", "veth", *peer)
    _do("link", "set", port, "master", bridge, "up")
    inside = ("-n", host.namespace)
    _do(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
    _do(*inside, "link", "set", "eth0", "up")
    _do(*inside, "link", "set", "lo", "up")


def _free_prefix() -> str:
    """Return a network of those kept for tests of networks (RFC 2544) that is not here."""
    taken = _do("-4", "-o", "addr", "show")
    numbers = (number % 256 for number in range(os.getpid(), os.getpid() + 256))
    return next(one for n in numbers if f"{(one := f'198.18.{n}')}." not in taken)


def _remove(owner: int) -> None:
    """Remove all that belongs to a process, and end what still runs there."""
    # Ports first: a namespace lives on while a connection that was cut off still waits.
    for link, its_owner in _links():
        if its_owner == owner:
            _do("link", "del", link)
    for found in list(_NAMESPACE.finditer(_do("netns", "list"))):
        if int(found[1]) == owner:
            _end_all(_do("netns", "pids", found[0]).split())
            _do("netns", "del", found[0])


def _links() -> list[tuple[str, int]]:
    """Return every switch and port of hosts that is here, with the process that made it."""
    found = _LINK.finditer(_do("-o", "link", "show"))
    return sorted({(one[1], int(one["bridge"] or one["port"])) for one in found})


def _end_all(processes: Sequence[str]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)


def _do(*arguments: str) -> str:
    done = subprocess.run(
        [_ip(), *arguments], check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout


def _ip() -> str:
    return find("ip") or "ip"
