"""The section ``receiver``: what bounds the receive path, and what it offers."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PositiveInt

from intu_fhir.settings.base import AeTitle, ClientTls, Days, Port, Seconds, Settings

CharacterSet: TypeAlias = Literal[
    "ISO_IR 13",
    "ISO_IR 100",
    "ISO_IR 101",
    "ISO_IR 109",
    "ISO_IR 110",
    "ISO_IR 126",
    "ISO_IR 127",
    "ISO_IR 138",
    "ISO_IR 144",
    "ISO_IR 148",
    "ISO_IR 166",
    "ISO_IR 192",
    "ISO_IR 203",
    "GB18030",
    "GBK",
]
"""Character sets that stand alone (PS3.3 C.12.1.1.2); ISO_IR 192 is UTF-8."""


class CommitmentRequester(Settings):
    """Where a requester of storage commitment takes results (PS3.4 J.3.3)."""

    host: str
    """Its address."""
    port: Port
    """Its port."""
    tls: ClientTls | None = None
    """Present = TLS."""


class StorageCommitment(Settings):
    """Storage commitment push model as SCP (PS3.4 annex J)."""

    enabled: bool = True
    """False = it is not offered. What was asked before is told, or given up in time."""
    requesters: dict[AeTitle, CommitmentRequester] = Field(default_factory=dict)
    """By AE title, where results are sent to on an association of our own. Others are told on
    an association that they have opened themselves.
    """
    max_instances: PositiveInt = 20_000
    """Most instances of one request; a longer one is read no further."""
    max_waiting: PositiveInt = 10_000
    """Most requests whose results are not told yet."""
    max_waiting_of_one: PositiveInt = 1_000
    """The same for one requester: its AE title or its address."""
    max_waiting_instances: PositiveInt = 5_000_000
    """Most instances of all those requests together."""
    max_waiting_instances_of_one: PositiveInt = 500_000
    """The same for one requester: its AE title or its address."""
    timeout_seconds: Seconds = 30.0
    """Limit for telling one result, in seconds."""
    wait_seconds: Seconds = 3_600.0
    """An association without any message stays open so long for a result that it has asked for."""
    check_again_seconds: Seconds = 600.0
    """Instances that were looked at longer ago are looked at again before a result is told."""
    tell_days: Days = 7.0
    """A result that its requester does not come for is told no more so many days after the last
    look at its instances. A file that cannot be had fails so many days after the request, such as
    one in the spool of a machine that is gone; so that such a request may wait for twice as long.
    """
    keep_days: Days = 90.0
    """Requests that have ended are kept for so many days."""
    max_kept_instances: PositiveInt = 50_000_000
    """Most instances of those requests; beyond that the oldest are forgotten sooner."""


class Receiver(Settings):
    """Limits of the receive path; all times on the monotonic clock."""

    max_associations: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Associations open at the same time, all channels together. Where so many are open, a sender
    that has fewer than others gets the place of one of theirs on which nothing comes. Each needs
    four file descriptors.
    """
    max_associations_per_address: PositiveInt = 50
    """The same for one sender's address; an IPv6 network of 64 bits counts as one."""
    max_associate_bytes: Annotated[int, Field(ge=16_384, le=1_048_576)] = 131_072
    """Longest A-ASSOCIATE-RQ that is taken (PS3.8 9.3.2)."""
    max_associate_items: Annotated[int, Field(ge=512, le=65_536)] = 4_096
    """Most items and sub-items of an A-ASSOCIATE-RQ: presentation contexts, syntaxes, and what the
    sender says of itself. The default is enough for 128 contexts of 28 transfer syntaxes.
    """
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=1_048_576)] = 131_072
    """Longest PDU that is taken (PS3.8 9.3)."""
    max_object_bytes: PositiveInt = 4 * 1024**3
    """Largest data set that is taken."""
    max_command_bytes: PositiveInt = 16_384
    """Largest command set that is taken."""
    max_inflated_bytes: PositiveInt = 64 * 1024**2
    """Most that a deflated data set may inflate to, pixels included."""
    max_inflating: Annotated[int, Field(ge=1, le=64)] = 2
    """Data sets that a process reads at the same time of those that are deflated or have more than
    1,000 elements. Another one waits for 8 seconds, and is then answered A700.
    """
    max_nesting: Annotated[int, Field(ge=1, le=256)] = 64
    """Deepest nesting of sequences that is read."""
    max_elements: Annotated[int, Field(ge=1_000)] = 5_000_000
    """Most elements, items and fragments of one data set."""
    max_contexts: Annotated[int, Field(ge=1, le=128)] = 128
    """Most presentation contexts that one association may propose."""
    idle_seconds: Seconds = 300.0
    """An association without any message ends after this."""
    pdu_seconds: Seconds = 30.0
    """A PDU that has begun must be complete within this."""
    message_seconds: Seconds = 60.0
    """Of a message that has begun, 64 KB or its end must come within this, again and again."""
    handshake_seconds: Seconds = 10.0
    """TLS handshake and A-ASSOCIATE-RQ must be complete within this."""
    association_seconds: Seconds = 86_400.0
    """Longest life of an association."""
    shutdown_grace_seconds: Seconds = 20.0
    """How long objects in hand may take when the program is stopped."""
    min_free_bytes: Annotated[int, Field(ge=0)] = 1024**3
    """Objects are answered A700, requests for storage commitment 0213, where they would leave less
    free than this, on the disk of the files or on that of an SQLite database; 0 = no such floor.
    """
    storage_commitment: StorageCommitment = StorageCommitment()
    """Promises to keep instances."""
    character_sets: dict[AeTitle, CharacterSet] = Field(default_factory=dict)
    """By calling AE title, the character set that a sender uses although it declares another one
    or none. Text that is not valid in it is read as declared.
    """
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Receiving processes on each port; more than one only where cores are free."""
