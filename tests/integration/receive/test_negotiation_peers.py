"""Negotiation with pynetdicom as an independent requester, and by hand where it cannot ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
)
from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.sop_class import Verification

from intu_fhir.receive.sop_classes import STORAGE_CLASSES, TRANSFER_SYNTAXES
from tests.integration.receive.conftest import StartReceiving
from tests.support.raw_peer import (
    ASSOCIATE_RJ,
    CONTEXTS,
    RawPeer,
    associate_request,
    item,
    status_of,
    store_command,
)
from tests.support.receiving import Receiving
from tests.support.studies import data_set_bytes, make_instance, uid

UID = uid("study", 1, 1)


@pytest.fixture
def ae() -> Iterator[AE]:
    """A requester whose waits end."""
    ae = AE("SCU")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    yield ae
    ae.shutdown()


def associate(ae: AE, receiving: Receiving, **options: Any) -> Any:
    """Request an association with the receiver."""
    return ae.associate("127.0.0.1", receiving.port, ae_title="INTU_SCP", **options)


def encoded(transfer_syntax: str) -> Dataset:
    """Return an instance that says it is encoded so."""
    dataset = make_instance()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    return dataset


def test_echo_is_answered(ae: AE, receiving: Receiving) -> None:
    """A C-ECHO is answered 0000 and the release is confirmed."""
    ae.add_requested_context(Verification)
    association = associate(ae, receiving)
    assert association.is_established
    assert association.send_c_echo().Status == 0x0000
    association.release()
    assert association.is_released
    assert receiving.recorder.wait_for_ends() == ["released"]


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        JPEG2000Lossless,
        JPEGLSLossless,
        HTJ2KLossless,
    ],
)
def test_object_is_stored_in_the_syntax_it_was_sent_in(
    syntax: str, ae: AE, receiving: Receiving
) -> None:
    """Every standard transfer syntax is accepted and handed on with the object."""
    ae.add_requested_context(CTImageStorage, syntax)
    association = associate(ae, receiving)
    dataset = encoded(syntax)
    if syntax not in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
        del dataset.PixelData  # no pixels to compress; the syntax is what counts here
    assert association.send_c_store(dataset).Status == 0x0000
    association.release()
    ((received, data),) = receiving.recorder.objects
    assert received.transfer_syntax_uid == syntax
    assert received.size == len(data)
    if syntax == ExplicitVRLittleEndian:
        assert data == data_set_bytes(make_instance())


def test_all_storage_classes_and_syntaxes_are_accepted(receiving: Receiving) -> None:
    """Every storage class of the standard in every syntax of the standard is negotiated."""
    pairs = [
        (uid, syntax) for uid in sorted(STORAGE_CLASSES) for syntax in (min(TRANSFER_SYNTAXES),)
    ]
    pairs += [(min(STORAGE_CLASSES), syntax) for syntax in sorted(TRANSFER_SYNTAXES)]
    assert len(STORAGE_CLASSES) > 170
    assert len(TRANSFER_SYNTAXES) > 50
    for begin in range(0, len(pairs), 128):
        part = pairs[begin : begin + 128]
        contexts = tuple((2 * i + 1, uid, (syntax,)) for i, (uid, syntax) in enumerate(part))
        with RawPeer(receiving.port) as peer:
            assert results(peer.associate(contexts)) == [0] * len(part)


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the items of an A-ASSOCIATE-AC."""
    while data:
        length = int.from_bytes(data[2:4], "big")
        yield data[0], data[4 : 4 + length]
        data = data[4 + length :]


def results(body: bytes) -> list[int]:
    """Return the result of each presentation context of an A-ASSOCIATE-AC."""
    return [value[2] for kind, value in items(body[68:]) if kind == 0x21]


def user_items(body: bytes) -> dict[int, bytes]:
    """Return the user information items of an A-ASSOCIATE-AC."""
    (information,) = (value for kind, value in items(body[68:]) if kind == 0x50)
    return dict(items(information))


def test_unknown_syntaxes_are_refused_one_by_one(receiving: Receiving) -> None:
    """A context with an unknown abstract or transfer syntax is refused, the others stand."""
    private = "1.2.3.4.5"
    contexts = (
        *CONTEXTS,
        (7, private, ("1.2.840.10008.1.2",)),
        (9, CTImageStorage, (private,)),
        (11, CTImageStorage, (private, "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2")),
    )
    with RawPeer(receiving.port) as peer:
        body = peer.associate(contexts)
    assert results(body) == [0, 0, 0, 3, 4, 0]
    last = [value for kind, value in items(body[68:]) if kind == 0x21][-1]
    assert last[8:] == b"1.2.840.10008.1.2.4.90"


def test_private_sop_class_needs_configuration(start_receiving: StartReceiving) -> None:
    """A private SOP class is accepted on a channel that lists it."""
    receiving = start_receiving(private_sop_classes=("1.2.3.4.5",))
    with RawPeer(receiving.port) as peer:
        assert results(peer.associate(((1, "1.2.3.4.5", ("1.2.840.10008.1.2",)),))) == [0]


REJECTIONS = {
    "called AE title": ({"called": "OTHER"}, (1, 1, 7)),
    "calling AE title": ({"calling": "STRANGER"}, (1, 1, 3)),
    "control character in calling AE title": ({"calling": "CT\nFORGED"}, (1, 1, 3)),
    "no calling AE title": ({"calling": ""}, (1, 1, 3)),
    "application context": ({"application_context": "1.2.3"}, (1, 1, 2)),
    "protocol version": ({"version": 2}, (1, 2, 2)),
}


@pytest.mark.parametrize("case", REJECTIONS)
def test_rejection_names_its_cause(case: str, start_receiving: StartReceiving) -> None:
    """A request that does not fit the channel is rejected with source and reason of PS3.8."""
    receiving = start_receiving(calling_ae_titles=("CT_1", "CT\nFORGED"))
    options, expected = REJECTIONS[case]
    with RawPeer(receiving.port) as peer:
        peer.send(associate_request(**{"calling": "CT_1", **options}))
        assert peer.read() == (ASSOCIATE_RJ, bytes((0, *expected)))
    assert receiving.recorder.ends == []


def test_listed_caller_is_accepted(ae: AE, start_receiving: StartReceiving) -> None:
    """A caller on the channel's list is served; padding of the title does not matter."""
    receiving = start_receiving(calling_ae_titles=("SCU",))
    ae.add_requested_context(Verification)
    association = associate(ae, receiving)
    assert association.is_established
    association.release()


def test_extended_items_are_answered(ae: AE, receiving: Receiving) -> None:
    """Window, roles, storage level and user identity are answered as PS3.7 annex D asks."""
    ae.add_requested_context(CTImageStorage)
    ae.add_requested_context(Verification)
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 5
    window.maximum_number_operations_performed = 7
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = CTImageStorage
    extended.service_class_application_information = b"\x02\x00\x03\x00\x01\x00"
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 2
    identity.positive_response_requested = True
    identity.primary_field, identity.secondary_field = b"scanner", b"passcode"
    role = build_role(CTImageStorage, scu_role=True, scp_role=True)
    association = associate(ae, receiving, ext_neg=[window, extended, identity, role])
    assert association.is_established
    acceptor = association.acceptor
    assert acceptor.asynchronous_operations == (1, 1)
    assert acceptor.sop_class_extended == {CTImageStorage: b"\x02\x00\x03\x00\x00\x00"}
    assert acceptor.user_identity is not None
    answered = acceptor.role_selection[CTImageStorage]
    assert (answered.scu_role, answered.scp_role) == (True, False)
    association.release()


def role(sop_class_uid: str, scu: int, scp: int) -> bytes:
    """Return an SCP/SCU Role Selection sub-item (PS3.7 D.3.3.4)."""
    uid = sop_class_uid.encode()
    return item(0x54, len(uid).to_bytes(2, "big") + uid + bytes((scu, scp)))


def test_context_without_a_role_is_refused(receiving: Receiving) -> None:
    """Who would only be SCP of a storage class cannot send on it; other classes are not touched."""
    with RawPeer(receiving.port) as peer:
        body = peer.associate(user_items=role(CTImageStorage, 0, 1))
        assert results(body) == [0, 1, 0]
        assert 0x54 not in user_items(body)
        peer.send_command(store_command("1.2.3"))
        assert peer.is_ended()


def test_roles_that_are_granted_are_answered(receiving: Receiving) -> None:
    """Who proposes both roles is SCU alone, and sends as one."""
    with RawPeer(receiving.port) as peer:
        body = peer.associate(user_items=role(CTImageStorage, 1, 1))
        assert results(body) == [0, 0, 0]
        assert user_items(body)[0x54][-2:] == bytes((1, 0))


def test_common_extended_negotiation_is_read_over(receiving: Receiving) -> None:
    """A SOP Class Common Extended item (0x57) has no answer; what it names is no reason to refuse.

    PS3.7 D.3.3.6: the acceptor does not answer it.
    """
    uids = [CTImageStorage.encode(), b"1.2.840.10008.4.2", b"1.2.840.10008.5.1.4.1.1.2"]
    named = [len(uid).to_bytes(2, "big") + uid for uid in uids]
    value = named[0] + named[1] + len(named[2]).to_bytes(2, "big") + named[2]
    with RawPeer(receiving.port) as peer:
        body = peer.associate(user_items=item(0x57, value))
        assert results(body) == [0, 0, 0]
        assert set(user_items(body)) == {0x51, 0x52, 0x55}
        assert status_of(peer.store(data_set_bytes(make_instance()), UID)) == 0x0000


def test_nothing_is_answered_that_was_not_asked(receiving: Receiving) -> None:
    """Without such items in the request the answer has length and implementation alone."""
    with RawPeer(receiving.port) as peer:
        assert set(user_items(peer.associate())) == {0x51, 0x52, 0x55}


@pytest.mark.parametrize(
    ("kind", "wanted", "answered"), [(1, 1, True), (1, 0, False), (4, 1, False)]
)
def test_identity_is_answered_where_that_is_possible(
    kind: int, wanted: int, answered: bool, receiving: Receiving
) -> None:
    """Names get their positive response when asked for; tokens, which are not read, get none."""
    identity = item(0x58, bytes((kind, wanted)) + b"\0\4user\0\0")
    with RawPeer(receiving.port) as peer:
        assert (0x59 in user_items(peer.associate(user_items=identity))) is answered


def test_unknown_user_item_is_skipped(receiving: Receiving) -> None:
    """An item that the standard does not name does not keep a peer out."""
    with RawPeer(receiving.port) as peer:
        peer.associate(user_items=item(0x7F, b"future"))


@pytest.mark.parametrize(
    "contexts", [((2, CTImageStorage, ("1.2.840.10008.1.2",)),), (CONTEXTS[0], CONTEXTS[0])]
)
def test_contexts_that_cannot_be_told_apart_abort(contexts: Any, receiving: Receiving) -> None:
    """Even and repeated presentation context IDs end the connection."""
    with RawPeer(receiving.port) as peer:
        peer.send(associate_request(contexts))
        assert peer.read()[0] == 7
