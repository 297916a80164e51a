"""A PACS that is asked to promise that it keeps images, by pynetdicom; it may behave badly."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt

from tests.support.ports import free_port

COMMITMENT = "1.2.840.10008.1.20.1"
WELL_KNOWN = "1.2.840.10008.1.20.1.1"


@dataclass(frozen=True)
class Asked:
    """One N-ACTION as it came."""

    transaction_uid: str
    uids: list[str]
    calling: str
    association: Any


def result_of(asked: Asked, failed: dict[str, int] | None = None, **more: Any) -> Dataset:
    """Return an Event Information that promises all of a request but what has failed."""
    failed = failed or {}
    information = Dataset()
    information.TransactionUID = more.get("transaction_uid", asked.transaction_uid)
    committed = [uid for uid in more.get("uids", asked.uids) if uid not in failed]
    if committed:
        information.ReferencedSOPSequence = [_item(uid) for uid in committed]
    if failed:
        information.FailedSOPSequence = [_item(uid, reason) for uid, reason in failed.items()]
    return information


def _item(uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
    if reason is not None:
        item.FailureReason = reason
    return item


@dataclass
class Archive:
    """A running PACS.

    Args:
        on_asked: what it does after it has taken a request; by default nothing.
        status: what it answers requests with.
        reports_to: port of the site where it opens associations of its own.
        stored: how often it was sent each instance.
    """

    port: int
    status: int = 0x0000
    reports_to: int = 0
    on_asked: Callable[[Asked], None] = lambda asked: None
    asked: list[Asked] = field(default_factory=list)
    stored: Counter[str] = field(default_factory=Counter)
    statuses: list[int] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        """Take a request."""
        information = event.action_information
        uids = [str(one.ReferencedSOPInstanceUID) for one in information.ReferencedSOPSequence]
        title = str(event.assoc.requestor.ae_title).strip()
        asked = Asked(str(information.TransactionUID), uids, title, event.assoc)
        self.asked.append(asked)
        if self.status == 0:
            thread = threading.Thread(target=self.on_asked, args=(asked,), daemon=True)
            self.threads.append(thread)
            thread.start()
        return self.status, None

    def on_store(self, event: evt.Event) -> int:
        """Take an instance."""
        self.stored[str(event.dataset.SOPInstanceUID)] += 1
        return 0x0000

    def tell_here(self, asked: Asked, information: Dataset) -> None:
        """Answer on the association that the request came on."""
        status, _ = asked.association.send_n_event_report(
            information, _event_type(information), COMMITMENT, WELL_KNOWN
        )
        self.statuses.append(int(status.Status) if "Status" in status else -1)

    def promise(
        self, asked: Asked, *, failed: dict[str, int] | None = None, role: bool = True
    ) -> None:
        """Promise all that was asked for but what has failed, on an association of its own."""
        self.tell_there(asked, result_of(asked, failed), role=role)

    def tell_there(
        self, asked: Asked, information: Dataset, *, title: str = "PACS", role: bool = True
    ) -> int:
        """Answer on an association of its own, and return the status it gets; -1 = no chance."""
        ae = AE(title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
        ae.add_requested_context(COMMITMENT)
        roles: list[Any] = [build_role(COMMITMENT, scu_role=False, scp_role=True)] if role else []
        association = ae.associate(
            "127.0.0.1", self.reports_to, ae_title=asked.calling, ext_neg=roles
        )
        status = -1
        if association.is_established and association.accepted_contexts:
            answer, _ = association.send_n_event_report(
                information, _event_type(information), COMMITMENT, WELL_KNOWN
            )
            status = int(answer.Status) if "Status" in answer else -1
        if association.is_established:
            association.release()
        self.statuses.append(status)
        return status


def _event_type(information: Dataset) -> int:
    return 2 if "FailedSOPSequence" in information else 1


@contextmanager
def archive() -> Iterator[Archive]:
    """Run a PACS of the AE title PACS."""
    pacs = Archive(free_port())
    ae = AE("PACS")
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.add_supported_context(COMMITMENT)
    handlers: list[Any] = [
        (evt.EVT_N_ACTION, pacs.on_action),
        (evt.EVT_C_STORE, pacs.on_store),
    ]
    server = ae.start_server(("127.0.0.1", pacs.port), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield pacs
    finally:
        server.shutdown()
        for thread in pacs.threads:
            thread.join(20)
