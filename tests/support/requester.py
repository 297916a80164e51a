"""A modality that asks for storage commitment, by pynetdicom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from tests.support.studies import make_instance, uid

COMMITMENT = "1.2.840.10008.1.20.1"
WELL_KNOWN = "1.2.840.10008.1.20.1.1"


@dataclass
class Requester:
    """A modality: stores, asks for commitment, and takes results.

    Args:
        status: what it answers results with.
    """

    port: int
    status: int = 0x0000
    results: list[tuple[int, Dataset]] = field(default_factory=list)
    roles: list[tuple[bool, bool]] = field(default_factory=list)
    _server: Any = None

    def on_report(self, event: evt.Event) -> tuple[int, None]:
        """Take a result."""
        self.results.append((event.event_type or 0, event.event_information))
        return self.status, None

    def associate(self) -> Any:
        """Open an association for storage and commitment."""
        ae = AE("CT1")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        ae.add_requested_context(COMMITMENT)
        association = ae.associate(
            "127.0.0.1",
            self.port,
            ae_title="INTU_TEST",
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self.on_report)],
        )
        assert association.is_established
        return association

    def store(self, *numbers: int) -> list[str]:
        """Store instances and return their UIDs."""
        association = self.associate()
        for number in numbers:
            dataset = make_instance(number=number)
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            assert association.send_c_store(dataset).Status == 0x0000
        association.release()
        return [uid("study", 1, number) for number in numbers]

    def ask(self, association: Any, transaction: str, *items: tuple[str, str]) -> int:
        """Ask for commitment and return the status of the answer."""
        information = Dataset()
        information.TransactionUID = transaction
        information.ReferencedSOPSequence = []
        for sop_class, sop_instance in items:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
            information.ReferencedSOPSequence.append(item)
        status, _ = association.send_n_action(information, 1, COMMITMENT, WELL_KNOWN)
        return int(status.Status)

    def listen(self, port: int) -> None:
        """Take results on associations of the site's own."""
        ae = AE("CT1")
        ae.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)

        def established(event: evt.Event) -> None:
            for context in event.assoc.accepted_contexts:
                self.roles.append((bool(context.as_scu), bool(context.as_scp)))

        handlers: list[Any] = [
            (evt.EVT_N_EVENT_REPORT, self.on_report),
            (evt.EVT_ESTABLISHED, established),
        ]
        self._server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        """Take nothing more."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
