"""``docs/conformance/dicom-conformance-statement.md``, in the order of PS3.2 annex N."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pydicom._uid_dict import UID_dictionary

from intu_fhir.deliver import commitment_scu, outcomes
from intu_fhir.files.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from intu_fhir.model.commitment import FailureReason
from intu_fhir.receive import negotiation, statuses
from intu_fhir.receive.dimse import SUCCESS, Answer
from intu_fhir.receive.negotiation import Rejection
from intu_fhir.receive.sop_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES, VERIFICATION
from intu_fhir.settings.schema import DicomDestination, DicomSource, Receiver
from intu_fhir.stage.charsets import charset_of
from tools.docs.dicomweb import dicomweb
from tools.docs.markdown import code, page, table

_OVERVIEW = """\
intu_fhir receives composite objects by C-STORE, keeps each data set exactly as it came, stages
its header in an SQL database, publishes a FHIR ImagingStudy for each study and sends the objects
on by C-STORE. It creates and displays no objects, and changes none but as section 2.3 says."""

_MODEL = """\
```mermaid
flowchart LR
    modality[Storage SCU] -- C-STORE, C-ECHO, N-ACTION --> scp[Storage SCP AE]
    scp -- N-EVENT-REPORT --> modality
    scp --> staging[(staging database, file store)]
    staging --> scu[Storage SCU AE]
    scu -- C-STORE, C-ECHO, N-ACTION --> pacs[Storage SCP of an archive]
    pacs -- N-EVENT-REPORT --> scp
    staging --> fhir[FHIR client]
```

**Storage SCP AE.** One for each configured channel, with its own port and AE title. It answers
C-ECHO, C-STORE and requests for storage commitment. Success is answered when the file, its
directory entry and the database row are on disk, never before.

**Storage SCU AE.** Sends the instances of a study to a configured archive once the study counts as
complete, and records the archive's answer for each instance. Where configured, it requests storage
commitment of them afterwards."""

_SCP_ASSOCIATIONS = """\
The AE accepts associations, and initiates them only to tell results of storage commitment to
requesters that have an address in the configuration. Presentation contexts are accepted with the
first transfer syntax of the requestor's order that is supported. The number of instances of an
association is not limited; its asynchronous operations window is (1, 1). Where all associations are
taken, one on which nothing comes may be aborted (A-ABORT, source 2, reason 0) for that of a
requestor from another address that has fewer."""

_SCP_STORE = """\
The data set is stored bit-preserving (level 2, full; digital signature level 3; no coercion), in
the transfer syntax it came in. An object that is stored already, byte for byte, is answered with
success and changes nothing. One with the same SOP Instance UID and other bytes is kept in
quarantine and answered with A900: the first one stays as it is."""

_SCP_COMMITMENT = """\
Storage Commitment Push Model SOP Class (1.2.840.10008.1.20.1), in the uncompressed transfer
syntaxes. A request (N-ACTION, action type 1) is answered with success when it is in the database.
Then the stored file of each instance is read again: its data set is compared with the digest of
what was received, its meta information with what was negotiated. Where it is not the same, and the
instance has got another file meanwhile, that one is read. An instance that is named twice is
reported once.

The result (N-EVENT-REPORT) goes to the requester's address in
`receiver.storage_commitment.requesters` on a new association, for which the AE proposes the SCP
role; it is not sent where the requester refuses that role, and sent where it says nothing of roles.
Without an address, or once that has failed, it goes on an association that the same requester (AE
title, called AE title and channel) has open: the asking one first, on the presentation context that
was asked on. Only one report at a time is not answered (asynchronous operations window 1). An
association that has asked may be silent for `wait_seconds` until its result has come.

Instances that were looked at more than `check_again_seconds` ago are looked at again before they
are told; a requester that comes seldom is told on its second visit from the look that the first one
caused. What is not taken is told again, as `retry` says, also after a restart; what the requester
does not come for is given up `tell_days` after the last look. Then a person can have it told again.

A result may be told more than once, with the same Transaction UID: where its answer came too late,
or was not noted before the program ended.

A request that repeats an earlier one word for word is the same request, and its result is told
again. Another one with a Transaction UID that this requester has used fails as a whole (0131). How
many requests and instances may wait is limited in all and for each requester, by AE title and by
address (`max_waiting` and the keys below it); beyond that, and where the disk is low, a request is
answered 0213.

Requests and results stay in the tables `storage_commitments` and `storage_commitment_items` for
`keep_days`, and at most `max_kept_instances` instances of those that have ended. All these keys are
below `receiver.storage_commitment`. Storage media are not referenced."""

_SCU_COMMITMENT = """\
Where `commitment` of the destination asks for it, the AE requests storage commitment (Storage
Commitment Push Model SOP Class, N-ACTION, action type 1, in Implicit VR Little Endian) of all
instances that the archive has answered with success or a warning, in requests of at most
`commitment.max_instances`, each with a Transaction UID of its own. Storage media are not
referenced. After the answers the association stays open for `commitment.wait_seconds`, for results
that come on it.

Later results are taken by the Storage SCP AE, on its ports, from an archive that opens an
association to the AE title that has asked. It may propose the SCP role by SCP/SCU role selection
(PS3.7 D.3.3.4), which is granted to configured archives alone; one that proposes no roles may
answer, too. Beside Verification nothing else is granted to it that the channel does not grant to
every sender of this AE title.

A result counts whenever it comes. An instance with a Failure Reason is sent again and requested
again. Without a result within `commitment.answer_seconds` the instances are requested anew, and
after `commitment.max_tries` requests a person is asked."""

_REASONS = {
    FailureReason.PROCESSING_FAILURE: "the stored file is not what was received, or is gone",
    FailureReason.NO_SUCH_OBJECT_INSTANCE: (
        "the instance was not received, is in quarantine, or was pruned"
    ),
    FailureReason.CLASS_INSTANCE_CONFLICT: "it was received with another SOP class",
    FailureReason.REFERENCED_SOP_CLASS_NOT_SUPPORTED: "its SOP class is not stored here",
    FailureReason.DUPLICATE_TRANSACTION_UID: "the requester has used the Transaction UID before",
    FailureReason.RESOURCE_LIMITATION: (
        "the file could not be opened for lack of resources, or not be had within `tell_days` of "
        "the request"
    ),
}

_SCU_ASSOCIATIONS = """\
The AE initiates associations and accepts none. It proposes, for each SOP class and transfer syntax
of the instances to be sent, a presentation context with the transfer syntax they were received in.
They are sent as they were received, except for the elements that `edits` of the destination sets or
removes; UIDs and pixels cannot be edited.

With `transcode: uncompressed` it proposes for each SOP class another context with Explicit and
Implicit VR Little Endian. Only an instance whose own transfer syntax is refused is sent in what is
granted there. Its header then differs in the elements that say how its pixels are encoded:"""

_DECOMPRESSED = (
    (
        "Photometric Interpretation (0028,0004)",
        "RGB of lossy JPEG (YBR_FULL_422, YBR_FULL) and of JPEG 2000 with a component transform "
        "(YBR_ICT, YBR_RCT); otherwise as received",
    ),
    ("Planar Configuration (0028,0006)", "0, where there are several samples per pixel"),
    (
        "Lossy Image Compression (0028,2110)",
        "01 where an image in lossy JPEG (1.2.840.10008.1.2.4.50, .51) came without it; otherwise "
        "as received, with ratio and method",
    ),
    ("(7FE0,0001), (7FE0,0002), (7FE0,0003), which are about fragments", "left out"),
    ("Pixel Data (7FE0,0010), also of icons", "decompressed"),
    ("group lengths", "left out"),
)
"""What changes in an image that is decompressed; ``deliver/image_header.py`` does it."""

_SCU_REST = """\
SOP Instance UID and all other elements stay. Video and samples of one bit are not decompressed. A
frame has at most 128 MiB, compressed or not, a header 32 MiB, pixel data less than 4 GiB.

An association that has nothing to do stays open for `idle_seconds` and serves a study for which it
has all presentation contexts, until it is 60 seconds old; then it is released. With 0 each study
has an association of its own."""

_SCU_STORE = """\
An instance counts as delivered only by an answer to its own message with its own SOP Instance UID.
Instances that an archive has answered for are not sent again, but for at most 25 after this program
was killed: they come as they came before, under the same SOP Instance UIDs. What is tried again is
tried in a new association, with increasing waits, until it becomes a dead letter for a person to
look at."""

_MEDIA = """\
The batch door (`intu-fhir import`) reads DICOM files, folders, zip archives and media with a
DICOMDIR (PS3.10, as a file-set reader for all general purpose profiles). No media are written."""

_SECURITY = """\
With `tls` a channel accepts TLS 1.2 and 1.3 only, with the cipher suites of the BCP 195 TLS Profile
(PS3.15 B.12): forward secrecy and authenticated encryption. With a `ca_file` senders have to show a
certificate that it has signed. A channel with TLS takes no connection without it.

A channel with `allowed_addresses` closes connections from other addresses before a byte is read.

User identity negotiation (PS3.7 D.3.3.7): with `users` a channel rejects who is not named there or
has another passcode. Without it user names and passcodes are accepted without being judged;
Kerberos, SAML and JWT are not answered, by which a requestor knows that nobody looked at them. An
archive that was asked for storage commitment may answer without being named."""

_EXTENSIONS = """\
None. Private SOP classes are accepted where `private_sop_classes` names them; private attributes
are kept and staged like all others."""

# PS3.3 tables C.12-2 to C.12-5; those that the program does not decode are left out below.
_ONE_BYTE = (100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 13, 166)
_DEFINED_TERMS = (
    *(f"ISO_IR {number}" for number in _ONE_BYTE),
    *(f"ISO 2022 IR {number}" for number in (6, *_ONE_BYTE, 87, 159, 149, 58)),
    "ISO_IR 192",
    "GB18030",
    "GBK",
)


def conformance_page() -> str:
    """Return the page."""
    return page(
        "DICOM conformance statement",
        "## 1 Overview",
        _OVERVIEW,
        _services(),
        "## 2 Networking",
        "### 2.1 Implementation model",
        _MODEL,
        *_scp(),
        *_scu(),
        *_interface(),
        *dicomweb(),
        "## 3 Media storage",
        _MEDIA,
        "## 4 Character sets",
        "These defined terms of Specific Character Set (0008,0005) are decoded, alone and, where "
        "PS3.5 6.1 allows it, with code extensions:",
        ", ".join(code(term) for term in _DEFINED_TERMS if not charset_of(term).unknown) + ".",
        "## 5 Security",
        _SECURITY,
        "## 6 Extensions, specializations and privatizations",
        _EXTENSIONS,
    )


def _services() -> str:
    rows = [
        ("Verification", "yes", "yes"),
        (f"Storage, {len(STORAGE_CLASSES)} SOP classes (section 2.2)", "yes", "yes"),
        ("Storage commitment push model", "yes, where configured", "yes"),
    ]
    return table(("Network service", "As user (SCU)", "As provider (SCP)"), rows)


def _scp() -> Iterator[str]:
    yield "### 2.2 Storage SCP AE"
    yield "#### SOP classes"
    yield _uids((VERIFICATION, *STORAGE_CLASSES))
    yield "#### Transfer syntaxes"
    yield _uids(TRANSFER_SYNTAXES)
    yield "#### Association policies"
    yield _SCP_ASSOCIATIONS
    yield table(
        ("Item", "Value"),
        [
            ("Application context", "1.2.840.10008.3.1.1.1"),
            ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
            ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME),
            *((name, _default(key)) for key, name in _LIMITS.items()),
        ],
    )
    yield "Associations are rejected for these reasons (PS3.8 table 9-21):"
    yield table(
        ("Result", "Source", "Reason", "Cause"),
        ((r.result, r.source, r.reason, r.cause.replace("_", " ")) for r in _rejections()),
    )
    yield "#### Verification"
    yield _statuses(statuses.ECHO_ANSWERS)
    yield "#### Storage"
    yield _SCP_STORE
    yield _statuses(_answers())
    yield "#### Storage commitment"
    yield _SCP_COMMITMENT
    yield _statuses(statuses.COMMITMENT_ANSWERS)
    yield "An instance that is not committed has one of these Failure Reasons (0008,1197):"
    reasons = ((f"{reason:04X}", _REASONS[reason]) for reason in FailureReason)
    yield table(("Failure Reason", "Cause"), reasons)


def _statuses(answers: Iterable[Answer]) -> str:
    rows = ((f"{answer.status:04X}", answer.comment) for answer in answers)
    return table(("Status", "Error Comment"), rows)


_LIMITS = {
    "max_pdu_bytes": "Maximum length received (PS3.8 D.1)",
    "max_associations": "Associations at the same time",
    "max_associations_per_address": "Associations at the same time from one address",
    "handshake_seconds": "Seconds for TLS handshake and A-ASSOCIATE-RQ (ARTIM)",
    "pdu_seconds": "Seconds for a PDU that has begun",
    "message_seconds": "Seconds for 64 KB of a message that has begun, or its end",
    "idle_seconds": "Seconds without any message",
    "association_seconds": "Seconds of an association in all",
    "max_contexts": "Presentation contexts of an association",
    "max_associate_bytes": "Bytes of an A-ASSOCIATE-RQ",
    "max_associate_items": "Items and sub-items of an A-ASSOCIATE-RQ",
    "max_object_bytes": "Bytes of a data set",
}


def _default(key: str) -> str:
    return f"{Receiver.model_fields[key].default:,.0f} (`receiver.{key}`)"


def _rejections() -> Iterable[Rejection]:
    found = {value for value in vars(negotiation).values() if isinstance(value, Rejection)}
    return sorted(found, key=lambda r: (r.result, r.source, r.reason))


_ALSO_TO_STORE = {
    statuses.PROCESSING_FAILURE,
    statuses.SOP_CLASS_NOT_SUPPORTED,
    statuses.UNRECOGNIZED_OPERATION,
}


def _answers() -> Iterable[Answer]:
    """Every answer that the status tables hold, those to other services alone left out."""
    named = {value for value in vars(statuses).values() if isinstance(value, Answer)}
    apart = {*statuses.COMMITMENT_ANSWERS, *statuses.EVENT_ANSWERS, *statuses.ECHO_ANSWERS}
    named -= apart - _ALSO_TO_STORE
    tables = {row.answer for row in statuses.ERRORS} | set(statuses.DISPOSITIONS.values())
    return sorted(named | tables | {SUCCESS}, key=lambda answer: (answer.status, answer.comment))


def _scu() -> Iterator[str]:
    yield "### 2.3 Storage SCU AE"
    yield "#### SOP classes and transfer syntaxes"
    yield "Verification, and those of section 2.2, as the instances were received."
    yield "#### Association policies"
    yield _SCU_ASSOCIATIONS
    yield table(("Element", "Becomes"), _DECOMPRESSED)
    yield _SCU_REST
    yield "What an A-ASSOCIATE-RJ means, by source and reason (PS3.8 table 9-21):"
    yield table(
        ("Source", "Reason", "Meaning", "Then"),
        ((s, r, rule.meaning, rule.verdict) for (s, r), rule in outcomes.REJECTIONS.items()),
    )
    yield "#### Storage"
    yield _SCU_STORE
    alone = [(f"{status:04X}", rule) for status, rule in outcomes.DIMSE_STATUSES.items()]
    ranges = [(f"{codes[0]:04X}-{codes[-1]:04X}", rule) for codes, rule in outcomes.DIMSE_RANGES]
    rows = [(status, rule.meaning, rule.verdict) for status, rule in (*alone, *ranges)]
    rows.append(("any other", "", outcomes.dimse_rule(0xFFFF).verdict))
    yield table(("Status", "Meaning", "Then"), rows)
    yield "#### Storage commitment"
    yield _SCU_COMMITMENT
    actions = commitment_scu.ACTION_STATUSES.items()
    asked = [(f"{status:04X}", rule.meaning, rule.verdict) for status, rule in actions]
    yield "What the answer to an N-ACTION means:"
    yield table(("Status", "Meaning", "Then"), asked)
    yield "What an N-EVENT-REPORT is answered with:"
    yield _statuses(statuses.EVENT_ANSWERS)


def _interface() -> Iterator[str]:
    yield "### 2.4 Network interfaces and configuration"
    yield table(
        ("Item", "Default", "Key"),
        [
            ("AE title of the SCP", DicomSource.model_fields["ae_title"].default, "`ae_title`"),
            ("Port of the SCP", "none", "`port`"),
            ("Calling AE titles", "all", "`calling_ae_titles`"),
            (
                "AE title of the SCU",
                DicomDestination.model_fields["ae_title"].default,
                "`ae_title` of the destination",
            ),
        ],
    )
    yield "TCP/IP, version 4 or 6. All keys: [configuration](../reference/configuration.md)."


def _uids(uids: Iterable[str]) -> str:
    rows = sorted(((_name(uid), uid) for uid in set(uids)), key=lambda row: _by_number(row[1]))
    return table(("Name", "UID"), rows)


def _name(uid: str) -> str:
    if uid not in UID_dictionary:
        return ""
    name, _kind, _info, retired, _keyword = UID_dictionary[uid]
    name = re.sub(r"\s+", " ", name)
    return f"{name} (retired)" if retired and "(Retired)" not in name else name


def _by_number(uid: str) -> list[int]:
    return [int(component) for component in uid.split(".")]
