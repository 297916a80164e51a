"""What came of one piece of work."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Delivered:
    """The peer confirmed it, for this very content.

    Args:
        status: the peer's own words, such as ``201`` or ``0000``.
        warning: the peer took it with a remark (HTTP outcome with warnings, B000, ...).
        server_id: id of the resource at a FHIR server.
        version: version id of the resource at a FHIR server.
        content_hash: hash of what was delivered; equal content is not sent again.
        unchanged: nothing was sent since the destination has this content.
    """

    status: str = ""
    detail: str = ""
    warning: str = ""
    server_id: str = ""
    version: str = ""
    content_hash: str = ""
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """Not delivered, may succeed later.

    Args:
        retry_after: the peer's own wish, in seconds.
        silent: the destination as a whole was not reached; it says nothing about this study.
        pauses: the destination wants no study for ``retry_after``, whichever it is.
    """

    status: str = ""
    detail: str = ""
    retry_after: float | None = None
    silent: bool = False
    pauses: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """Not delivered and trying again changes nothing; ``detail`` says why, without secrets."""

    status: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """Not delivered until a person decides, for example no or several patients match."""

    code: str
    detail: str = ""


DeliveryOutcome: TypeAlias = Delivered | Retry | Dead | Hold


@dataclass(frozen=True, slots=True)
class InstanceOutcome:
    """The peer's answer for one instance of a PACS delivery.

    Args:
        transcoded_to: transfer syntax that it was sent in; empty = the one that it is stored in.
    """

    sop_instance_uid: str
    status: str
    delivered: bool
    warning: bool = False
    detail: str = ""
    transcoded_to: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try, as recorded."""

    started_at: datetime
    ended_at: datetime
    outcome: DeliveryOutcome
    instances: tuple[InstanceOutcome, ...] = field(default=())
