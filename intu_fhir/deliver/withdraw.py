"""Marks results as entered in error that no report of the study has any more."""

from __future__ import annotations

from dataclasses import dataclass

from intu_fhir.deliver.answers import Json, Place, bears_identifier, place_of
from intu_fhir.deliver.content import rebase
from intu_fhir.deliver.ledger import Keeper
from intu_fhir.deliver.outcomes import Verdict, http_rule
from intu_fhir.deliver.publication import Publication
from intu_fhir.deliver.publish import Publisher
from intu_fhir.deliver.server import FhirServer
from intu_fhir.model.delivered import DeliveredResource
from intu_fhir.model.outcome import Dead, Delivered, Hold, Retry

IN_ERROR = "entered-in-error"


@dataclass(frozen=True)
class Withdrawal:
    """Takes results back at one server: marked, never deleted, once each.

    Args:
        status: what they are marked with.
    """

    server: FhirServer
    keeper: Keeper
    study_uid: str
    status: str = IN_ERROR

    def withdraw(self, known: DeliveredResource) -> Retry | None:
        """Mark one result; what was deleted at the server needs no mark."""
        identity, place = known.identity, Place(known.server_id, known.version)
        answer = self.server.read(identity.resource_type, known.server_id)
        if http_rule(answer.status).verdict is Verdict.GONE:
            self._keep(known, place)
            return None
        theirs = answer.resource(identity.resource_type)
        if theirs is None or not bears_identifier(theirs, identity.system, identity.value):
            return self._failed(known, self.server.failed(answer))
        return self._mark(known, theirs, place_of(theirs) or place)

    def _mark(self, known: DeliveredResource, theirs: Json, place: Place) -> Retry | None:
        marked = rebase({**theirs, "status": self.status}, theirs)
        publication = Publication(
            self.study_uid,
            {key: value for key, value in marked.items() if key != "id"},
            self.status,
            server_id=place.id,
            version=place.version,
            identity=known.identity,
        )
        outcome = Publisher(self.server, publication, self.keeper.ledger.keep_going).run()
        if not isinstance(outcome, Delivered):
            return self._failed(known, outcome)
        self.keeper.progress.sent = True
        self._keep(known, Place(outcome.server_id, outcome.version))
        return None

    def _keep(self, known: DeliveredResource, place: Place) -> None:
        self.keeper.keep(known.kind, known.identity, place, "", withdrawn=True)

    def _failed(self, known: DeliveredResource, outcome: Retry | Dead | Hold) -> Retry | None:
        if isinstance(outcome, Retry):
            return outcome
        what = f"{known.identity.resource_type} not withdrawn"
        self.keeper.progress.refuse(what, outcome.detail)
        return None
