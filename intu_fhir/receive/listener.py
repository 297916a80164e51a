"""One port of one channel: accepts connections and gives each a thread."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import structlog

from intu_fhir.errors import ConfigurationError
from intu_fhir.files.store import FileStore
from intu_fhir.model.bound import why_not_bound
from intu_fhir.observe import metrics
from intu_fhir.observe.clock import Clock
from intu_fhir.observe.tracing import NO_TRACING, Tracing
from intu_fhir.receive.connection import Connection
from intu_fhir.receive.door import Door
from intu_fhir.receive.ending import (
    ACCEPT_FAILED,
    ADDRESS_REFUSED,
    NO_THREAD,
    count_from_zero,
)
from intu_fhir.receive.intake import Store
from intu_fhir.receive.negotiation import Policy
from intu_fhir.receive.ports import (
    Accept,
    AssociationEnded,
    Commit,
    EndReason,
    Hear,
    StopReport,
)
from intu_fhir.receive.rejections import Rejections
from intu_fhir.receive.reporting import OpenRequesters
from intu_fhir.receive.service import Service
from intu_fhir.receive.slots import Slots
from intu_fhir.receive.space import FreeSpace
from intu_fhir.receive.tls import server_context
from intu_fhir.settings.schema import Channel, Receiver, User

_log = structlog.get_logger("intu_fhir.receive")
_BACKLOG = 1_024  # who finds it full is heard after a second only, by its next SYN
_ACCEPT_TICK_SECONDS = 0.25
_PAUSE_SECONDS = 0.02
_NEWS_SECONDS = 60.0
_USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_CUT_SECONDS = 3.0


class Listener:
    """Receives what is sent to one channel.

    Args:
        channel: where it listens and whom it serves.
        limits: of every association.
        accept: makes an object durable; called by several threads at once.
        association_ended: is told of every association, once.
        files: where objects are spooled.
        slots: counts associations over all listeners.
        free_space: promises space over all listeners; absent = where the files are.
        clock: deadlines run on its monotonic time.
        commit: takes requests for storage commitment; absent = the service is not offered.
        hear: takes what ``archives`` answer to our own requests.
        archives: by AE title, whom we ask for storage commitment, and by which of our AE titles.
        requesters: associations that results of it can be told on, over all listeners.
        rejections: remembers who was rejected, over all listeners.
        tracing: where traces go.
        shares_port: other processes listen on the same port; the system deals connections out.
    """

    def __init__(
        self,
        channel: Channel,
        limits: Receiver,
        *,
        accept: Accept,
        association_ended: AssociationEnded,
        files: FileStore,
        slots: Slots,
        clock: Clock,
        free_space: FreeSpace | None = None,
        commit: Commit | None = None,
        hear: Hear | None = None,
        archives: Mapping[str, frozenset[str]] | None = None,
        requesters: OpenRequesters | None = None,
        rejections: Rejections | None = None,
        tracing: Tracing = NO_TRACING,
        shares_port: bool = False,
    ) -> None:
        self._channel = channel
        source = channel.source
        self._service = Service(
            channel=channel.id,
            limits=limits,
            policy=_policy(
                channel, limits, storage_commitment=commit is not None, archives=archives or {}
            ),
            store=Store(
                files,
                accept,
                free_space or FreeSpace({"files": files.free_bytes}, limits.min_free_bytes, clock),
                limits.max_object_bytes,
                commit,
                hear,
                limits.storage_commitment.max_instances,
            ),
            association_ended=association_ended,
            slots=slots,
            clock=clock,
            requesters=requesters or OpenRequesters(),
            rejections=rejections or Rejections(),
            tracing=tracing,
            tls=server_context(source.tls) if source.tls else None,
        )
        self._door = Door(source.allowed_addresses) if source.allowed_addresses else None
        self._port, self._shares_port = source.port, shares_port
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._open: dict[Connection, threading.Thread] = {}
        self._ended: list[Connection] = []
        self._told: dict[str, float] = {}

    @property
    def port(self) -> int:
        """The port that is listened on; the configured one unless that was 0."""
        return self._port

    @property
    def is_listening(self) -> bool:
        """Say whether connections are accepted."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def stopping(self) -> threading.Event:
        """Set as soon as ``stop`` has begun."""
        return self._service.stopping

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be had.
        """
        host, port = self._channel.source.host, self._channel.source.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server(
                (host, port), family=family, backlog=_BACKLOG, reuse_port=self._shares_port
            )
        except (OSError, ValueError) as error:
            raise _no_port(self._channel, error) from error
        self._port = self._socket.getsockname()[1]
        count_from_zero(self._channel.id)
        self._socket.settimeout(_ACCEPT_TICK_SECONDS)
        name = f"listener {self._channel.id}"
        self._thread = threading.Thread(target=self._accept_loop, name=name, daemon=True)
        self._thread.start()

    def stop(self, grace_seconds: float) -> StopReport:
        """Stop accepting, let every association finish the object in hand, and end it.

        Takes at most ``grace_seconds`` and some seconds more; safe to call twice. An object that
        is being stored even then is not torn from its sender: it is answered if the process lives.
        """
        until = time.monotonic() + grace_seconds
        self._service.stopping.set()
        self._stop_accepting()
        self._close_without_association()
        self._join(until)
        self._service.cutting.set()
        self._join(time.monotonic() + _CUT_SECONDS)
        return self._stop_report()

    def _join(self, until: float) -> None:
        with self._lock:
            threads = list(self._open.values())
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _stop_accepting(self) -> None:
        if self._socket is None or self._thread is None:
            return
        with contextlib.suppress(OSError):  # wakes accept on Linux; elsewhere its tick does
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _close_without_association(self) -> None:
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            if connection.is_shaking_hands:  # the others are told
                connection.interrupt()

    def _stop_report(self) -> StopReport:
        with self._lock:
            open_now, ended = list(self._open), list(self._ended)
        how = Counter(
            connection.ended.detail
            for connection in ended
            if connection.origin and connection.ended
            if connection.ended.reason is EndReason.STOPPED
        )
        stuck = tuple(c.origin.association_id for c in open_now if c.origin)
        return StopReport(self._channel.id, how["idle"], how["finished"], how["cut"], stuck)

    def _accept_loop(self) -> None:
        assert self._socket is not None
        while not self._service.stopping.is_set():
            try:
                accepted, address = self._socket.accept()
            except TimeoutError:
                continue
            except (OSError, MemoryError) as error:
                if self._service.stopping.is_set():
                    return
                self._make_room(error)
                continue
            if self._door is None or self._door.admits(address[0]):
                self._serve(accepted, address[0])
            else:
                self._turn_away(accepted, address[0])

    def _make_room(self, error: OSError | MemoryError) -> None:
        """Go on after an accept that failed: a peer was gone already, or nothing is left for one.

        The one that waits stays in the queue, so somebody else has to go for it.
        """
        said = getattr(error, "strerror", None) or type(error).__name__
        if self._is_news(ACCEPT_FAILED):
            _log.error("accept_failed", channel=self._channel.id, error=said)
        if isinstance(error, MemoryError) or error.errno in _USED_UP:
            self._service.slots.evict()
            self._service.stopping.wait(_PAUSE_SECONDS)

    def _is_news(self, outcome: str) -> bool:
        """Count a connection that is not served, and say whether it is worth a line.

        It is so once a minute: such may come a thousand times a second.
        """
        metrics.RECEIVE_CONNECTIONS.labels(self._channel.id, outcome).inc()
        now = self._service.clock.monotonic()
        told = self._told.get(outcome)
        is_news = told is None or now >= told + _NEWS_SECONDS
        if is_news:
            self._told[outcome] = now
        return is_news

    def _turn_away(self, accepted: socket.socket, address: str) -> None:
        assert self._door is not None
        accepted.close()
        metrics.RECEIVE_CONNECTIONS.labels(self._channel.id, ADDRESS_REFUSED).inc()
        if self._door.is_news(address, self._service.clock.monotonic()):
            _log.warning("address_refused", channel=self._channel.id, peer=address)

    def _serve(self, accepted: socket.socket, address: str) -> None:
        """Give a connection its thread; whatever fails, the next one is accepted."""
        connection = None
        try:
            connection = Connection(self._service, accepted, address)
            self._start(connection, address)
        except (RuntimeError, MemoryError, OSError) as error:
            if self._is_news(NO_THREAD):
                reason = type(error).__name__
                _log.error("no_thread_for_connection", channel=self._channel.id, error=reason)
            if connection is not None:
                self._forget(connection)
                connection.close()
            accepted.close()
            self._service.slots.evict()  # so that there is a thread for the next one

    def _start(self, connection: Connection, address: str) -> None:
        thread = threading.Thread(
            target=self._run, args=(connection,), name=f"association {address}", daemon=True
        )
        with self._lock:
            self._open[connection] = thread
        thread.start()

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        with self._lock:
            self._open.pop(connection, None)
            if self._service.stopping.is_set():
                self._ended.append(connection)


def require_free_port(channel: Channel) -> None:
    """Make sure that nobody listens on its port, not even one who would share it.

    Raises:
        ConfigurationError: somebody does.
    """
    host, port = channel.source.host, channel.source.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise _no_port(channel, error) from error


def _no_port(channel: Channel, error: Exception) -> ConfigurationError:
    source = channel.source
    return ConfigurationError(
        f"channel {channel.id} cannot listen on {source.host} port {source.port} "
        f"({why_not_bound(error)}); free the port or choose another",
        key="source.port",
    )


def _policy(
    channel: Channel,
    limits: Receiver,
    *,
    storage_commitment: bool,
    archives: Mapping[str, frozenset[str]],
) -> Policy:
    source = channel.source
    callers = source.calling_ae_titles
    return Policy(
        ae_title=source.ae_title,
        calling_ae_titles=None if callers is None else frozenset(callers),
        private_sop_classes=frozenset(source.private_sop_classes),
        max_pdu_bytes=limits.max_pdu_bytes,
        max_contexts=limits.max_contexts,
        users=None if source.users is None else _users(source.users),
        storage_commitment=storage_commitment,
        archives=archives,
    )


def _users(users: Sequence[User]) -> dict[bytes, bytes | None]:
    return {
        user.name.encode(): None if user.passcode is None else user.passcode.encode()
        for user in users
    }
