"""Delivery of one study to one destination: read what it should get, send, say what came of it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from intu_fhir.db.companions import (
    companions_of,
    delivered_of,
    delivered_with,
    record_delivered,
    record_study_place,
)
from intu_fhir.db.deliveries import (
    Known,
    PendingInstance,
    known_at,
    pending_instances,
    record_instances,
    warned_instances,
)
from intu_fhir.db.file_checks import note_damage
from intu_fhir.db.resources import VALID, StoredResource, newest_resource
from intu_fhir.db.session import Database
from intu_fhir.db.studies import demographics
from intu_fhir.deliver.answers import Place
from intu_fhir.deliver.beside import SeveralPublisher
from intu_fhir.deliver.dicom import DAMAGED_FILE, ObjectToSend, StorageScu
from intu_fhir.deliver.document import DocumentPublisher, goes_as_document, study_address
from intu_fhir.deliver.fhir import FhirClient, Publication
from intu_fhir.deliver.lease import Lease
from intu_fhir.deliver.ledger import Wanted
from intu_fhir.deliver.remarks import unlisted
from intu_fhir.deliver.stored import KeptFile
from intu_fhir.deliver.subject import link_subject
from intu_fhir.deliver.tally import warning_of
from intu_fhir.files.store import FileStore
from intu_fhir.model.canonical import content_hash
from intu_fhir.model.companion import DOCUMENT, Companion, Identity
from intu_fhir.model.delivered import DeliveredResource
from intu_fhir.model.finding import IMAGES_EXPIRED, INSTANCES_LEFT_OUT
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome, Hold, InstanceOutcome
from intu_fhir.model.work import Claim, NotYet
from intu_fhir.observe.clock import Clock, SystemClock
from intu_fhir.settings.schema import FhirDestination

_ERRORS = (
    "the resource has errors; read its findings with `intu-fhir study {uid}`, mend the images or "
    "the mapping, then `intu-fhir replay --rebuild --study {uid}`"
)
_NO_DOCUMENT = (
    "no valid DocumentReference was built for it; read its findings with `intu-fhir study {uid}`, "
    "then `intu-fhir replay --rebuild --study {uid}`"
)
_NOT_BUILT = "Nothing was built for it; `intu-fhir replay --rebuild --study {uid}`"
_OF_IMAGES = frozenset({"series", "numberOfSeries", "numberOfInstances", "endpoint"})

FLUSH_EVERY = 25
"""How many answers of a PACS are kept in memory before they are put on disk (decision 0020)."""
FLUSH_SECONDS = 1.0
"""How long an answer is at most kept in memory once another one comes: so much is sent twice by
whoever goes on after a crash.
"""

_SETTLES_AGAIN = timedelta(seconds=5)
_HAS_GROWN = "more images have come, and the study has to settle with them"


@dataclass(frozen=True)
class FhirDelivery:
    """Publishes the ImagingStudy of a generation at one FHIR server, and what goes beside it.

    Args:
        clock: for what is sent beside the study.
        endpoint: the image service as its Endpoint, where the destination asks for it.
        guard: held while what studies share is looked after: patients, equipment, image service.
    """

    database: Database
    destination: FhirDestination
    client: FhirClient
    clock: Clock = field(default_factory=SystemClock)
    endpoint: Companion | None = None
    lease_seconds: float = 60.0
    guard: AbstractContextManager[object] = field(default_factory=threading.Lock)

    def __call__(self, claim: Claim) -> DeliveryOutcome:
        """Publish what ``claim`` wants, unless the server has this very content already."""
        with self._lease(claim) as lease:
            return self._deliver(claim, ResourceLedger(self, claim, lease))

    def _lease(self, claim: Claim) -> Lease:
        """Return what keeps the study ours from the first request to the last."""
        seconds = self.destination.timeout_seconds
        return Lease(self.database, self.clock, claim, self.lease_seconds, seconds)

    def _deliver(self, claim: Claim, ledger: ResourceLedger) -> DeliveryOutcome:
        stored = self._stored(claim)
        if not isinstance(stored, StoredResource):
            return stored
        publication = self._publication(claim, stored)
        if not isinstance(publication, Publication):
            return publication
        as_document = goes_as_document(self._document_reference, self.client)
        if not isinstance(as_document, bool):
            return as_document
        if as_document:
            return self._as_document(claim, stored, publication, ledger)
        outcome = self._as_study(claim, stored, publication, ledger)
        if isinstance(outcome, Delivered) and self._document_reference != "never":
            documents = DocumentPublisher(self.client, ledger, claim.study_key, publication)
            return documents.supersede() or outcome
        return outcome

    @property
    def _document_reference(self) -> str:
        return self.destination.publish.document_reference

    def _as_study(
        self, claim: Claim, stored: StoredResource, publication: Publication, ledger: ResourceLedger
    ) -> DeliveryOutcome:
        kinds = self.destination.publish.kinds
        if not kinds:
            return self.client.publish(publication, ledger.keep_going)
        wanted = Wanted(publication, claim.study_key, self._companions(stored, kinds), kinds)
        return SeveralPublisher(self.client, wanted, ledger, self.clock.now, self.guard).run()

    def _as_document(
        self, claim: Claim, stored: StoredResource, publication: Publication, ledger: ResourceLedger
    ) -> DeliveryOutcome:
        """Publish the study as a DocumentReference, in the ledger by its own type."""
        wanted = self.destination.publish
        found = self._companions(stored, frozenset({DOCUMENT}))
        document = next((one for one in found if one.kind == DOCUMENT), None)
        if document is None:
            return Hold("invalid_resource", _NO_DOCUMENT.format(uid=claim.study_instance_uid))
        base = None if _is_expired(stored) else wanted.wado_rs
        address = study_address(base, publication.resource, claim.study_instance_uid)
        publisher = DocumentPublisher(
            self.client, ledger, claim.study_key, publication, wanted.kinds
        )
        return publisher.publish(document, address, stored.built_at or self.clock.now())

    def announce(self, claim: Claim) -> DeliveryOutcome | None:
        """Tell the server of a study whose images are not yet where it is to find them.

        The status is ``registered`` (FHIR ImagingStudyStatus: known to exist, nothing available).
        A study that the server has already stays as it is there until the next version may go.
        """
        with self._lease(claim) as lease:
            return self._announce(claim, lease)

    def _announce(self, claim: Claim, lease: Lease) -> DeliveryOutcome | None:
        if self._is_there(claim) or goes_as_document(self._document_reference, self.client):
            return None
        stored = self._stored(claim)
        if not isinstance(stored, StoredResource):
            return stored
        if (stored.resource or {}).get("status") != "available":
            return None
        publication = self._publication(claim, stored)
        if not isinstance(publication, Publication):
            return publication
        outcome = self.client.publish(_as_registered(publication), lease.keep)
        if isinstance(outcome, Delivered):
            return replace(outcome, detail="announced as registered")
        return outcome

    def _is_there(self, claim: Claim) -> bool:
        """Say whether the server has the study from an earlier delivery."""
        with self.database.read() as connection:
            return bool(known_at(connection, claim.key).server_id)

    def _stored(self, claim: Claim) -> StoredResource | DeliveryOutcome:
        """Return what was built, where it is fit to be sent."""
        with self.database.read() as connection:
            stored = newest_resource(
                connection, claim.study_key, self.destination.release, generation=claim.want
            )
        if stored is None or stored.resource is None:
            return Dead(detail=_NOT_BUILT.format(uid=claim.study_instance_uid))
        if stored.state != VALID:
            return Hold("invalid_resource", _ERRORS.format(uid=claim.study_instance_uid))
        return stored

    def _publication(self, claim: Claim, stored: StoredResource) -> Publication | DeliveryOutcome:
        """Return it with its subject, and what the server is known to have of it."""
        with self.database.read() as connection:
            known = known_at(connection, claim.key)
            patient = demographics(connection, claim.study_key)
        linked = link_subject(
            stored.resource or {}, patient, self.destination, self.client, self.guard
        )
        if not isinstance(linked, dict):
            return linked
        return Publication(
            study_uid=claim.study_instance_uid,
            resource=linked,
            content_hash=content_hash(linked),
            server_id=known.server_id,
            version=known.server_version,
            last_hash=known.content_hash,
            last_warning=known.warning,
            remark=_unlisted(stored, linked),
            gone=frozenset({"endpoint"}) if _is_expired(stored) else frozenset(),
        )

    def _companions(self, stored: StoredResource, kinds: frozenset[str]) -> list[Companion]:
        """Return what this destination asks for of all that was built."""
        with self.database.read() as connection:
            built = companions_of(connection, stored.resource_key)
        endpoint = [self.endpoint] if self.endpoint and not _is_expired(stored) else []
        return [one for one in (*endpoint, *built) if one.kind in kinds]


def _is_expired(stored: StoredResource) -> bool:
    """Say whether its images were deleted in due time, so that nothing may lead to them."""
    return _has(stored, IMAGES_EXPIRED)


def _has(stored: StoredResource, code: str) -> bool:
    return any(one.get("code") == code for one in stored.findings)


def _unlisted(stored: StoredResource, resource: Mapping[str, Any]) -> str:
    """Say what the ledger is to tell of a study that was built without its instances."""
    count = resource.get("numberOfInstances", 0)
    return unlisted(count) if _has(stored, INSTANCES_LEFT_OUT) and count else ""


def _as_registered(publication: Publication) -> Publication:
    """Return the study without everything that says where which images are."""
    kept = {key: v for key, v in publication.resource.items() if key not in _OF_IMAGES}
    resource = {**kept, "status": "registered"}
    return replace(publication, resource=resource, content_hash=content_hash(resource))


class ResourceLedger:
    """Puts on disk what a FHIR server has, while a study and its companions are being sent."""

    def __init__(self, delivery: FhirDelivery, claim: Claim, lease: Lease) -> None:
        self._delivery, self._claim, self._lease = delivery, claim, lease
        self._name = claim.destination
        self._waiting: list[DeliveredResource] = []

    def keep_going(self) -> bool:
        """Say whether the study is still ours to send."""
        return self._lease.keep()

    def known(self, identities: Iterable[Identity]) -> Mapping[Identity, DeliveredResource]:
        """Return what the server has of these, whatever study brought them."""
        with self._delivery.database.read() as connection:
            return delivered_with(connection, self._name, identities)

    def of_study(self) -> Sequence[DeliveredResource]:
        """Return what the server has of this study alone."""
        self.flush()
        with self._delivery.database.read() as connection:
            return delivered_of(connection, self._name, self._claim.study_key)

    def keep(self, delivered: DeliveredResource) -> None:
        """Note what the server has confirmed."""
        self._waiting.append(delivered)
        if len(self._waiting) >= FLUSH_EVERY:
            self.flush()

    def keep_study(self, place: Place, content_hash: str, warning: str = "") -> None:
        """Note where the study is and what was remarked on it, before the rest has followed."""
        at = Known(place.id, place.version, content_hash, warning)
        with self._delivery.database.write() as connection:
            record_study_place(connection, self._claim, at)

    def flush(self) -> None:
        """Put on disk what was noted: it is the server's own word, whoever holds the lease."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            with self._delivery.database.write() as connection:
                record_delivered(connection, self._name, waiting, self._delivery.clock.now())


@dataclass(frozen=True)
class DicomDelivery:
    """Sends the instances of a study that one PACS has not confirmed yet."""

    database: Database
    clock: Clock
    files: FileStore
    scu: StorageScu
    lease_seconds: float
    flush_every: int = FLUSH_EVERY

    def __call__(self, claim: Claim) -> DeliveryOutcome | NotYet:
        """Send what the PACS lacks; what it confirmed in an earlier try is not sent again."""
        seconds = self.scu.timeout_seconds
        with Lease(self.database, self.clock, claim, self.lease_seconds, seconds) as lease:
            return self._deliver(claim, lease)

    def _deliver(self, claim: Claim, lease: Lease) -> DeliveryOutcome | NotYet:
        with self.database.snapshot() as connection:
            pending = pending_instances(connection, claim)
        if pending is None:
            return NotYet(self.clock.now() + _SETTLES_AGAIN, _HAS_GROWN)
        if not pending:
            done = Delivered(status="0000", detail="every instance was confirmed", unchanged=True)
            return self._with_warning(claim, done)
        ledger = AnswerLedger(self, claim, pending, lease)
        try:
            outcome = self.scu.send(
                [self._to_send(instance) for instance in pending],
                ledger.answered,
                keep_going=ledger.keep_going,
            )
        finally:
            ledger.flush()
        return self._with_warning(claim, outcome)

    def _with_warning(self, claim: Claim, outcome: DeliveryOutcome) -> DeliveryOutcome:
        """Say what the PACS remarked on any image it has, in whatever try it took it."""
        if not isinstance(outcome, Delivered):
            return outcome
        with self.database.read() as connection:
            number, first = warned_instances(connection, claim)
        return replace(outcome, warning=warning_of(number, *first) if first else "")

    def _to_send(self, instance: PendingInstance) -> ObjectToSend:
        return ObjectToSend(
            sop_class_uid=instance.sop_class_uid,
            sop_instance_uid=instance.sop_instance_uid,
            transfer_syntax_uid=instance.transfer_syntax_uid,
            file=KeptFile(self.files, instance.file),
            data_set_offset=instance.data_set_offset,
            sha256=instance.sha256,
        )


class AnswerLedger:
    """Puts a PACS's answers on disk while a study is being sent, and keeps its lease alive."""

    def __init__(
        self,
        delivery: DicomDelivery,
        claim: Claim,
        pending: list[PendingInstance],
        lease: Lease,
    ) -> None:
        self._delivery, self._claim, self._lease = delivery, claim, lease
        self._keys = {item.sop_instance_uid: item.instance_key for item in pending}
        self._files = {item.instance_key: item.file for item in pending}
        self._answers: dict[int, InstanceOutcome] = {}
        self._flushed_at = delivery.clock.monotonic()

    def answered(self, answer: InstanceOutcome) -> None:
        """Take one answer."""
        self._answers[self._keys[answer.sop_instance_uid]] = answer
        waited = self._delivery.clock.monotonic() - self._flushed_at
        if len(self._answers) >= self._delivery.flush_every or waited > FLUSH_SECONDS:
            self.flush()

    def keep_going(self) -> bool:
        """Say whether the study is still ours to send; renews the lease in good time."""
        return self._lease.keep()

    def flush(self) -> None:
        """Put the answers on disk: they are the peer's own words, whoever holds the lease."""
        answers, self._answers = self._answers, {}
        self._flushed_at = self._delivery.clock.monotonic()
        if answers:
            with self._delivery.database.write() as connection:
                now = self._delivery.clock.now()
                record_instances(connection, self._claim, answers, now)
                damaged = (key for key, a in answers.items() if a.status == DAMAGED_FILE)
                note_damage(connection, {key: self._files[key] for key in damaged}, now)
