"""One DICOM instance on its way into staging."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from intu_fhir.model.values import Values


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """The attributes that are read before a C-STORE is answered.

    ``values`` holds the raw strings of the attributes in ``stage.header.SCANNED`` by keyword.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    values: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an instance came from: one association, or one run of the batch door.

    Args:
        trace_parent: its span, where it is traced (``observe.tracing``).
    """

    association_id: str
    channel: str
    kind: str = "network"
    calling_ae_title: str = ""
    called_ae_title: str = ""
    peer_address: str = ""
    peer_implementation: str = ""
    tls: bool = False
    trace_parent: str = ""


@dataclass(frozen=True, slots=True)
class ReceivedObject:
    """A complete object in the spool: a Part 10 file with the data set bytes as received.

    Args:
        path: the spool file; ``accept`` moves or removes it.
        data_set_offset: where the data set starts in the file.
        size: bytes of the data set.
        sha256: hex digest of the data set bytes.
        sop_class_uid: Affected SOP Class UID of the command.
        sop_instance_uid: Affected SOP Instance UID of the command.
        transfer_syntax_uid: the one that was negotiated for the presentation context.
        data_set: its bytes, where they are few and still at hand; else they are in the file alone.
    """

    path: Path
    data_set_offset: int
    size: int
    sha256: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    origin: Origin
    data_set: bytes | None = field(default=None, repr=False)


class Disposition(StrEnum):
    """What became of an object; every received object ends as exactly one of these."""

    STORED = "stored"
    ALREADY_STORED = "already_stored"
    QUARANTINED = "quarantined"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer of ``accept``: durable when it is returned.

    ``reason`` is a short code for anything but STORED, such as ``different_bytes``.
    """

    disposition: Disposition
    sop_instance_uid: str
    study_instance_uid: str = ""
    reason: str = ""
