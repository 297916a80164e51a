"""How a study becomes exactly one resource at a server, and stays one.

Known id: update with If-Match. Else as the server offers: search, then conditional create;
conditional update; search, then an id of our own or plain create (why in this order: decision
0019). An answer that did not come leaves open whether the server acted: it is looked up, never
repeated blindly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import orjson

from intu_fhir.deliver.answers import (
    Answer,
    Json,
    Place,
    bears_identifier,
    place_in_headers,
    place_of,
)
from intu_fhir.deliver.auth import TokenRefused, TokenUnavailable
from intu_fhir.deliver.capability import UNKNOWN, Capability
from intu_fhir.deliver.confirm import Confirmation, Written
from intu_fhir.deliver.content import (
    number_of_instances,
    rebase,
    same_content,
    without_instances,
)
from intu_fhir.deliver.exchange import NoAnswer
from intu_fhir.deliver.outcomes import Verdict, http_rule, sentence
from intu_fhir.deliver.publication import (
    Publication,
    entry_answer,
    is_conditional,
    private_values,
    transaction_of_one,
)
from intu_fhir.deliver.remarks import joined, unlisted
from intu_fhir.deliver.server import FhirServer, bearing, token
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome, Hold, Retry

_CONFLICTS = 3
_SEARCHES = 2
"""How often a resource is searched to be written: what was found may be gone by then."""
_UNRESOLVED = frozenset({404, 412})
"""What a transaction ends with where the server finds no patient, or several: among others."""
_CONFLICT = frozenset({409, 412})

LOST = Retry(detail="Another worker has the study now, since this one took too long with it")


class _Lost(Exception):
    """The study is another worker's now."""


class There(NamedTuple):
    """What a server has, and where."""

    place: Place
    resource: Json


def there(resource: Json) -> There | None:
    """Return a resource with the place that it names itself."""
    place = place_of(resource)
    return There(place, resource) if place else None


class Publisher:
    """One publication at one server.

    Args:
        keep_going: says whether the study is still ours to send; asked before each write.
    """

    def __init__(
        self,
        server: FhirServer,
        publication: Publication,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> None:
        self._server = server
        self._wanted = publication
        self._keep_going = keep_going
        known_by = publication.recognised_by
        self._type, self._system = known_by.resource_type, known_by.system
        self._value = known_by.value
        self._token = token(self._system, self._value)
        self._private = private_values(publication.resource)
        self._resource = publication.resource
        self._remark = publication.remark
        self._sent: Json | None = None
        self._offers = UNKNOWN
        self._searches = 0

    def run(self) -> DeliveryOutcome:
        """Publish, and say what came of it."""
        wanted = self._wanted
        if wanted.server_id and wanted.last_hash == wanted.content_hash:
            return self._delivered(Place(wanted.server_id, wanted.version), unchanged=True)
        try:
            return self._publish()
        except _Lost:
            return LOST
        except NoAnswer as error:
            if self._sent and error.maybe_done:
                return self._look_up(error)
            return Retry(detail=f"{error}; it is tried again by itself", silent=True)
        except TokenUnavailable as error:
            return Retry(detail=str(error), silent=True)
        except TokenRefused as error:
            return Dead("401", str(error))

    def _publish(self) -> DeliveryOutcome:
        capability = self._server.metadata()
        if not isinstance(capability, Capability):
            return capability
        self._offers = capability.of(self._type)
        if not self._offers.takes:
            return Dead(
                detail=f"The server does not take {self._type}: {self._offers.quote()}; publish to "
                "a server that does, or have it enabled, then replay"
            )
        self._fit()
        if self._wanted.server_id:
            return self._update(Place(self._wanted.server_id, self._wanted.version))
        return self._create()

    def _fit(self) -> None:
        """Leave the instance lists out where the study is over the destination's limits."""
        limits = self._server.destination
        count = number_of_instances(self._resource)
        if count > limits.max_instances or (
            count and len(orjson.dumps(self._resource)) > limits.max_body_bytes
        ):
            self._shrink(count)

    def _shrink(self, count: int) -> None:
        self._resource = without_instances(self._resource)
        self._remark = unlisted(count)

    # ---- the ways to one resource

    def _update(self, place: Place, theirs: Json | None = None) -> DeliveryOutcome:
        """PUT by id; on a conflict take over what the server has now, a few times.

        Args:
            theirs: what the server has there, where that is known to be another's, too.
        """
        body = self._resource
        for _ in range(_CONFLICTS):
            if theirs is not None:
                body = rebase(self._resource, theirs, self._wanted.gone)
                if same_content(body, theirs):
                    return self._delivered(place, "200")
            written = self._put(place, body)
            status = written.answer.status
            verdict = http_rule(status).verdict
            if verdict is Verdict.GONE:
                return self._anew(written)
            if verdict is not Verdict.REREAD:
                return self._confirmed(written)
            theirs = self._server.read(self._type, place.id).resource(self._type)
            if theirs is None or not bears_identifier(theirs, self._system, self._value):
                return self._anew(written)
            before, place = place, place_of(theirs) or place
            if place.version == before.version and self._is_unresolved(written.answer):
                return self._refused(written.answer)
        return Retry(
            str(status),
            f"HTTP {status}: another writer keeps changing the resource at the server; "
            "it is tried again by itself",
        )

    def _put(self, place: Place, body: Json) -> Written:
        condition = {"If-Match": f'W/"{place.version}"'} if place.version else {}
        path, body = f"{self._type}/{place.id}", {**body, "id": place.id}
        return self._write("PUT", path, body, condition, before=place)

    def _anew(self, written: Written) -> DeliveryOutcome:
        """Look again for what is not where it was thought to be, but not for ever."""
        return self._create() if self._searches < _SEARCHES else self._refused(written.answer)

    def _create(self) -> DeliveryOutcome:
        """Write a resource whose id is not known."""
        self._searches += 1
        found = self._find()
        if isinstance(found, There):
            return self._update(*found)
        if found is not None:
            return found
        offers = self._offers
        if offers.finds_by_itself:
            written = self._write("PUT", f"{self._type}?identifier={self._token}", self._resource)
            return self._met(written) if _is_conflict(written) else self._confirmed(written)
        if offers.update_create and not offers.conditional_create:
            return self._update(Place(self._wanted.own_id))
        return self._post(guarded=offers.conditional_create)

    def _post(self, *, guarded: bool) -> DeliveryOutcome:
        """Create what a search did not find.

        Args:
            guarded: the server makes sure that nobody creates it at the same moment.
        """
        condition = {"If-None-Exist": f"identifier={self._token}"}
        written = self._write("POST", self._type, self._resource, condition)
        if _is_conflict(written):
            return self._met(written)
        if written.answer.status == 200 and (there := self._of_another(written)):
            return self._update(*there)
        outcome = self._confirmed(written)
        if guarded or not isinstance(outcome, Delivered):
            return outcome
        found = self._find()
        return found if isinstance(found, Dead) else outcome

    def _met(self, written: Written) -> DeliveryOutcome:
        """Look what a create has met: several, or one that another writer has made just now."""
        found = self._find()
        if isinstance(found, There):
            return self._update(*found)
        return found or self._refused(written.answer)

    def _of_another(self, written: Written) -> There | None:
        """Return what another writer created first, and where; the server ignored ours then."""
        place = place_in_headers(written.answer, self._type)
        shown = written.answer.resource(self._type)
        if shown is None and place is not None:
            shown = self._server.read(self._type, place.id).resource(self._type)
        if shown is None or same_content(written.sent, shown):
            return None
        return there(shown)

    # ---- looking

    def _find(self) -> There | Retry | Dead | None:
        """Search the study; None where the server has none, or makes sure of that by itself."""
        answer = self._server.search(self._type, self._system, self._value)
        listed = bearing(answer, self._type, self._system, self._value)
        if not answer.ok or listed is None:
            failed = self._unsearched(answer)
            if isinstance(failed, Retry) or answer.status == HTTPStatus.UNAUTHORIZED:
                return failed
            return None if self._offers.finds_by_itself else failed
        found = [resource for resource in listed if place_of(resource)]
        if len(found) > 1:
            return self._several()
        return there(self._server.whole(found[0])) if found else None

    def _unsearched(self, answer: Answer) -> Retry | Dead:
        """Say why a search has found nothing out."""
        if not answer.ok or not answer.is_fhir:
            return self._failed(answer)
        return Dead(
            str(answer.status),
            f"The server does not search {self._type} by identifier, so it could be doubled; "
            "have the search enabled, then replay",
        )

    def _look_up(self, error: NoAnswer) -> DeliveryOutcome:
        """Find out whether a request without an answer was carried out."""
        later = Retry(
            detail=f"{error}; whether the server acted is looked up before anything is repeated",
            silent=True,
        )
        try:
            found = self._find()
        except (NoAnswer, TokenUnavailable, TokenRefused):
            return later
        if isinstance(found, Dead):
            return found
        if isinstance(found, There) and self._sent and same_content(self._sent, found.resource):
            return self._delivered(found.place, "200")
        return later

    def _several(self) -> Dead:
        return Dead(
            "412",
            "Several resources at the server have the identifier of study "
            f"{self._wanted.study_uid}; leave one of them there, then replay",
        )

    # ---- one request and what it proves

    def _write(
        self,
        method: str,
        path: str,
        body: Json,
        headers: Mapping[str, str] | None = None,
        before: Place | None = None,
    ) -> Written:
        """Send a resource; once more without instance lists where the server finds it too large.

        Raises:
            _Lost: another worker has the study; what it writes must not be written over.
        """
        if not self._keep_going():
            raise _Lost
        headers = {"Prefer": "return=representation", **(headers or {})}
        self._sent = body
        answer = self._send(method, path, body, headers)
        count = number_of_instances(body)
        if http_rule(answer.status).verdict is Verdict.SHRINK and count:
            if not self._keep_going():
                raise _Lost
            self._shrink(count)
            body = self._sent = without_instances(body)
            answer = self._send(method, path, body, headers)
        return Written(answer, body, before)

    def _send(self, method: str, path: str, body: Json, headers: Mapping[str, str]) -> Answer:
        """Send it as it is, or in a transaction where the server is to find the patient."""
        if not is_conditional(body):
            return self._server.call(method, path, resource=body, headers=headers)
        bundle = transaction_of_one(method, path, body, headers, self._wanted.own_id)
        prefer = {"Prefer": headers["Prefer"]}
        return entry_answer(self._server.call("POST", "", resource=bundle, headers=prefer))

    def _confirmed(self, written: Written) -> DeliveryOutcome:
        """Believe a success only where the server shows this study's own resource."""
        status = written.answer.status
        if http_rule(status).verdict is not Verdict.DELIVERED:
            return self._refused(written.answer)
        proof = Confirmation(self._server, self._wanted.recognised_by, self._private).of(written)
        if isinstance(proof, Retry):
            return proof
        return self._delivered(proof.place, str(status), proof.remark)

    def _refused(self, answer: Answer) -> Retry | Dead | Hold:
        """Return the outcome of a write that was not carried out."""
        if not self._is_unresolved(answer):
            return self._failed(answer)
        return Hold(
            "patient_not_found",
            sentence(
                f"HTTP {answer.status}: the server finds no patient or several for it",
                self._server.words(answer, self._private),
                "enter or merge the patient at the server, then release the study",
            ),
        )

    def _is_unresolved(self, answer: Answer) -> bool:
        """Say whether the patient may be why a write was refused."""
        return answer.status in _UNRESOLVED and is_conditional(self._resource)

    def _failed(self, answer: Answer) -> Retry | Dead:
        return self._server.failed(answer, self._private)

    def _delivered(
        self, place: Place, status: str = "", remark: str = "", *, unchanged: bool = False
    ) -> Delivered:
        return Delivered(
            status=status,
            # Where nothing is sent, what was remarked on what is there still holds.
            warning="" if unchanged else joined(self._remark, remark),
            server_id=place.id,
            version=place.version,
            content_hash=self._wanted.content_hash,
            unchanged=unchanged,
        )


def _is_conflict(written: Written) -> bool:
    return written.answer.status in _CONFLICT
