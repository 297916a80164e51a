"""What the connections of a listener share."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field

from intu_fhir.observe.clock import Clock
from intu_fhir.observe.tracing import NO_TRACING, Tracing
from intu_fhir.receive.intake import Store
from intu_fhir.receive.negotiation import Policy
from intu_fhir.receive.ports import AssociationEnded
from intu_fhir.receive.rejections import Rejections
from intu_fhir.receive.reporting import OpenRequesters
from intu_fhir.receive.slots import Slots
from intu_fhir.settings.schema import Receiver

_TICK_SECONDS = 0.25


@dataclass(frozen=True)
class Service:
    """All that a connection needs beside its own socket.

    Args:
        stopping: no new message is begun from now on.
        cutting: no message is finished any more.
        turn: held while a long A-ASSOCIATE-RQ is read and judged. Many at once would not be faster
            for it, and whoever asks for little would wait for all of them.
    """

    channel: str
    limits: Receiver
    policy: Policy
    store: Store
    association_ended: AssociationEnded
    slots: Slots
    clock: Clock
    requesters: OpenRequesters
    rejections: Rejections = field(default_factory=Rejections)
    tracing: Tracing = NO_TRACING
    tls: ssl.SSLContext | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    cutting: threading.Event = field(default_factory=threading.Event)
    turn: threading.Lock = field(default_factory=threading.Lock)


def tick_seconds(limits: Receiver) -> float:
    """Return how often a waiting thread looks at the clock: short beside its shortest limit."""
    shortest = min(
        limits.handshake_seconds, limits.pdu_seconds, limits.message_seconds, limits.idle_seconds
    )
    return min(_TICK_SECONDS, shortest / 4)
