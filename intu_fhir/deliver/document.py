"""Brings a study to a server that takes no ImagingStudy: as a DocumentReference."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from intu_fhir.deliver.answers import Json, Place, words
from intu_fhir.deliver.auth import TokenRefused, TokenUnavailable
from intu_fhir.deliver.capability import Capability
from intu_fhir.deliver.exchange import NoAnswer
from intu_fhir.deliver.ledger import Keeper, Ledger, Progress
from intu_fhir.deliver.publication import Publication
from intu_fhir.deliver.publish import Publisher
from intu_fhir.deliver.remarks import AS_DOCUMENT, LEFT_OUT, still_said
from intu_fhir.deliver.server import FhirServer
from intu_fhir.deliver.withdraw import Withdrawal
from intu_fhir.model.canonical import content_hash
from intu_fhir.model.companion import DOCUMENT, Companion, Identity
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome, Retry

TYPE = "DocumentReference"
SUPERSEDED = "superseded"
"""What a DocumentReference is once the server has the ImagingStudy (DocumentReferenceStatus)."""


def goes_as_document(wanted: str, server: FhirServer) -> bool | Retry | Dead:
    """Say whether a study goes as a DocumentReference, or why nobody can tell now.

    Args:
        wanted: ``publish.document_reference`` of the destination.
    """
    if wanted != "fallback":
        return wanted == "instead"
    capability = server.metadata()
    if not isinstance(capability, Capability):
        return capability
    return not capability.takes_imaging_study


def complete(document: Json, subject: Json, address: str, built_at: datetime) -> tuple[Json, str]:
    """Return a DocumentReference as it is sent, and the hash of what it says.

    The date is that of the version, so it makes no new one.

    Args:
        address: where the images of the study can be had, or nothing.
    """
    [content] = document["content"]
    attachment = content["attachment"]
    if address:
        attachment = {**attachment, "url": address}
    said = {**document, "subject": subject, "content": [{**content, "attachment": attachment}]}
    return {**said, "date": built_at.isoformat(timespec="milliseconds")}, content_hash(said)


@dataclass(frozen=True)
class DocumentPublisher:
    """One publication of a study as a DocumentReference at one server.

    Args:
        study: the ImagingStudy, with the destination's own subject.
        left_out: kinds of what goes beside an ImagingStudy; nothing of them is sent.
    """

    server: FhirServer
    ledger: Ledger
    study_key: int
    study: Publication
    left_out: Collection[str] = ()

    def publish(self, document: Companion, address: str, built_at: datetime) -> DeliveryOutcome:
        """Bring the document to the server, and keep in the ledger what came of it."""
        if refusal := self._refusal():
            return refusal
        identity = document.identity
        known = self.ledger.known([identity]).get(identity)
        subject = self.study.resource["subject"]
        resource, digest = complete(document.resource, subject, address, built_at)
        publication = Publication(
            self.study.study_uid,
            resource,
            digest,
            server_id=known.server_id if known else "",
            version=known.version if known else "",
            last_hash=known.content_hash if known and not known.withdrawn else "",
            identity=identity,
        )
        outcome = Publisher(self.server, publication, self.ledger.keep_going).run()
        return self._kept(identity, outcome) if isinstance(outcome, Delivered) else outcome

    def _refusal(self) -> Retry | Dead | None:
        """Say why the server gets nothing, in the words of its CapabilityStatement."""
        capability = self.server.metadata()
        if not isinstance(capability, Capability):
            return capability
        if capability.of(TYPE).takes:
            return None
        return Dead(
            detail=f"The server takes neither ImagingStudy nor {TYPE}: {capability.quote()}; "
            f"{capability.of(TYPE).quote()}; publish to a server that does, or have it enabled, "
            "then replay"
        )

    def _kept(self, identity: Identity, outcome: Delivered) -> Delivered:
        """Note where the document is; the study itself is not at the server."""
        place = Place(outcome.server_id, outcome.version)
        if not outcome.unchanged:
            keeper = Keeper(self.ledger, self.study_key, Progress())
            keeper.keep(DOCUMENT, identity, place, outcome.content_hash)
            self.ledger.flush()
        version = f" version {place.version}" if place.version else ""
        before = self.study.last_warning if outcome.unchanged else ""
        remarks = [f"{AS_DOCUMENT} {place.id}{version}", outcome.warning, *self._left_out()]
        return replace(
            outcome,
            warning=still_said(before, *remarks),
            server_id="",
            version="",
            content_hash="",
        )

    def _left_out(self) -> list[str]:
        names = ", ".join(sorted(self.left_out))
        return [f"without {names}, {LEFT_OUT}"] if names else []

    def supersede(self) -> Retry | None:
        """Mark the document of a study that the server has as an ImagingStudy by now."""
        keeper = Keeper(self.ledger, self.study_key, Progress())
        withdrawal = Withdrawal(self.server, keeper, self.study.study_uid, SUPERSEDED)
        try:
            for known in self.ledger.of_study():
                if known.kind == DOCUMENT and not known.withdrawn:
                    return withdrawal.withdraw(known)
        except (NoAnswer, TokenUnavailable, TokenRefused) as error:
            return Retry(detail=f"{TYPE}: {error}; it is tried again by itself", silent=True)
        finally:
            self.ledger.flush()
        return None


def study_address(base: str | None, study: Json, study_uid: str) -> str:
    """Return where the images of a study can be had (PS3.18 10.4), or nothing.

    Args:
        base: of the DICOMweb service.
        study: as it is published; where nothing is left of it, nothing can be had.
    """
    gone = words(study.get("status")) != "available"
    return "" if base is None or gone else f"{base}/studies/{study_uid}"
