"""How a study becomes exactly one resource at a server, and stays one.

Known id: update with If-Match. Else as the server offers: conditional update; search, then
conditional create, an id of our own, or plain create. An answer that did not come leaves open
whether the server acted: it is looked up, never repeated blindly.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

import orjson

from intu_fhir.deliver.answers import (
    Answer,
    Json,
    Place,
    bears_identifier,
    etag,
    outcome_words,
    place_in_headers,
    place_of,
)
from intu_fhir.deliver.auth import TokenRefused, TokenUnavailable
from intu_fhir.deliver.capability import Capability
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
)
from intu_fhir.deliver.server import FhirServer, bearing, token
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome, Hold, Retry

_CONFLICTS = 3
_UNREADABLE = frozenset({403, 405, 501})
_UNRESOLVED = frozenset({404, 412})
_NAMESPACE = uuid.UUID("0b3b6f4e-5d6c-5c0e-9a51-6c1f1a1f4f57")


LOST = Retry(detail="Another worker has the study now, since this one took too long with it")


class _Lost(Exception):
    """The study is another worker's now."""


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
        self._remark = ""
        self._wrote = False

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
            if self._wrote and error.maybe_done:
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
        capability = capability.of(self._type)
        if not capability.takes:
            return Dead(
                detail=f"The server does not take {self._type}: {capability.quote()}; publish to a "
                "server that does, or have it enabled, then replay"
            )
        self._fit()
        if is_conditional(self._resource):
            return self._transaction()
        if self._wanted.server_id:
            return self._update(Place(self._wanted.server_id, self._wanted.version), capability)
        return self._create(capability)

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
        self._remark = f"sent without the list of its {count} instances, for their number"

    # ---- the ways to one resource

    def _update(self, place: Place, capability: Capability | None = None) -> DeliveryOutcome:
        """PUT by id; on a conflict take over what the server has now, a few times."""
        body = self._resource
        for _ in range(_CONFLICTS):
            answer = self._put(place, body)
            verdict = http_rule(answer.status).verdict
            if verdict is Verdict.GONE and capability:
                return self._create(capability)
            if verdict is not Verdict.REREAD:
                return self._confirmed(answer, place)
            current = self._server.read(self._type, place.id)
            theirs = current.resource(self._type)
            if theirs is None or not bears_identifier(theirs, self._system, self._value):
                return self._create(capability) if capability else self._failed(current)
            place = place_of(theirs) or place
            if same_content(self._resource, theirs):
                return self._delivered(place, str(current.status))
            body = rebase(self._resource, theirs, self._wanted.gone)
        return Retry(
            str(answer.status),
            f"HTTP {answer.status}: another writer keeps changing the resource at the server; "
            "it is tried again by itself",
        )

    def _put(self, place: Place, body: Json) -> Answer:
        condition = {"If-Match": f'W/"{place.version}"'} if place.version else {}
        return self._write("PUT", f"{self._type}/{place.id}", {**body, "id": place.id}, condition)

    def _create(self, capability: Capability) -> DeliveryOutcome:
        """Write a resource whose id is not known."""
        conditional = capability.conditional_update or not capability.known
        found = self._find() if self._wanted.unheard or not conditional else None
        if isinstance(found, Place) and (done := self._same_at(found)):
            return done
        if conditional:
            answer = self._write("PUT", f"{self._type}?identifier={self._token}", self._resource)
            if answer.status == 412:
                return self._several()
            return self._confirmed(answer)
        if isinstance(found, Place):
            return self._update(found)
        if found is not None:
            return found
        if capability.update_create and not capability.conditional_create:
            return self._update(Place(str(uuid.uuid5(_NAMESPACE, self._wanted.study_uid))))
        condition = {"If-None-Exist": f"identifier={self._token}"}
        answer = self._write("POST", self._type, self._resource, condition)
        return self._several() if answer.status == 412 else self._confirmed(answer)

    def _transaction(self) -> DeliveryOutcome:
        """Write in a transaction, where the server itself resolves ``Patient?identifier=...``."""
        wanted = self._wanted
        url = (
            f"{self._type}/{wanted.server_id}"
            if wanted.server_id
            else f"{self._type}?identifier={self._token}"
        )
        request = {"method": "PUT", "url": url}
        resource = self._resource
        if wanted.server_id:
            resource = {**resource, "id": wanted.server_id}
        entry = {
            "fullUrl": f"urn:uuid:{uuid.uuid5(_NAMESPACE, wanted.study_uid)}",
            "resource": resource,
            "request": request,
        }
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
        answer = self._write("POST", "", bundle)
        if answer.status in _UNRESOLVED:
            said = self._server.words(answer, self._private)
            return Hold(
                "patient_not_found",
                sentence(
                    f"HTTP {answer.status}: the server finds no patient or several for it",
                    said,
                    "enter or merge the patient at the server, then release the study",
                ),
            )
        if not answer.ok:
            return self._failed(answer)
        return self._confirmed(entry_answer(answer))

    # ---- looking

    def _find(self) -> Place | DeliveryOutcome | None:
        """Search the study; None where the server has none."""
        answer = self._server.search(self._type, self._system, self._value)
        if not answer.ok:
            return self._failed(answer)
        found = bearing(answer, self._type, self._system, self._value)
        if found is None:
            return Dead(
                str(answer.status),
                f"The server does not search {self._type} by identifier, so it could be doubled; "
                "have the search enabled, then replay",
            )
        places = [place for resource in found if (place := place_of(resource))]
        if len(places) > 1:
            return self._several()
        return places[0] if places else None

    def _look_up(self, error: NoAnswer) -> DeliveryOutcome:
        """Find out whether a request without an answer was carried out."""
        later = Retry(
            detail=f"{error}; whether the server acted is looked up before anything is repeated",
            silent=True,
        )
        try:
            found = self._find()
            if not isinstance(found, Place):
                return found if isinstance(found, Dead) else later
            return self._same_at(found) or later
        except (NoAnswer, TokenUnavailable, TokenRefused):
            return later

    def _same_at(self, place: Place) -> Delivered | None:
        """Return success where the server has this very content already."""
        current = self._server.read(self._type, place.id)
        theirs = current.resource(self._type)
        if theirs is None or not same_content(self._resource, theirs):
            return None
        return self._delivered(place_of(theirs) or place, str(current.status))

    def _several(self) -> Dead:
        return Dead(
            "412",
            "Several resources at the server have the identifier of study "
            f"{self._wanted.study_uid}; leave one of them there, then replay",
        )

    # ---- one request and what it proves

    def _write(
        self, method: str, path: str, body: Json, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a resource; once more without instance lists where the server finds it too large.

        Raises:
            _Lost: another worker has the study; what it writes must not be written over.
        """
        if not self._keep_going():
            raise _Lost
        headers = {"Prefer": "return=representation", **(headers or {})}
        self._wrote = True
        answer = self._server.call(method, path, resource=body, headers=headers)
        count = number_of_instances(body)
        if http_rule(answer.status).verdict is Verdict.SHRINK and count:
            self._shrink(count)
            body = without_instances(body)
            answer = self._server.call(method, path, resource=body, headers=headers)
        return answer

    def _confirmed(self, answer: Answer, place: Place | None = None) -> DeliveryOutcome:
        """Believe a success only where the server shows this study's own resource."""
        if http_rule(answer.status).verdict is not Verdict.DELIVERED:
            return self._failed(answer)
        shown = answer.resource(self._type)
        if shown is None:
            return self._read_back(answer, place)
        found = place_of(shown)
        if found is None or not self._is_ours(shown) or (place and found.id != place.id):
            return self._unconfirmed(answer, "another resource than the one that was sent")
        if not found.version:
            found = Place(found.id, etag(answer))
        return self._delivered(found, str(answer.status))

    def _read_back(self, answer: Answer, place: Place | None) -> DeliveryOutcome:
        """Read what was written, where the answer itself does not show it."""
        value = answer.json()
        if answer.body and (value is None or value.get("resourceType") != "OperationOutcome"):
            return self._unconfirmed(answer, "something that is not the resource")
        remark = self._server.clean(outcome_words(value or {}, "warning"), self._private)
        written = place_in_headers(answer, self._type) or place
        if written is None:
            return self._unconfirmed(answer, "neither the resource nor its Location")
        current = self._server.read(self._type, written.id)
        if current.status in _UNREADABLE:
            remark = remark or f"not read back: HTTP {current.status}"
            return self._delivered(written, str(answer.status), remark)
        shown = current.resource(self._type)
        if shown is None or not self._is_ours(shown):
            return self._unconfirmed(answer, "a Location where the resource is not")
        return self._delivered(place_of(shown) or written, str(answer.status), remark)

    def _is_ours(self, resource: Json) -> bool:
        return bears_identifier(resource, self._system, self._value)

    def _unconfirmed(self, answer: Answer, shows: str) -> Retry:
        return Retry(
            str(answer.status),
            sentence(
                f"HTTP {answer.status}, but the server shows {shows}",
                answer.headers.get("content-type", "")[:60],
                "check that base_url is the FHIR endpoint and no proxy answers for it",
            ),
        )

    def _failed(self, answer: Answer) -> Retry | Dead:
        return self._server.failed(answer, self._private)

    def _delivered(
        self, place: Place, status: str = "", remark: str = "", *, unchanged: bool = False
    ) -> Delivered:
        return Delivered(
            status=status,
            warning="; ".join(filter(None, (self._remark, remark))),
            server_id=place.id,
            version=place.version,
            content_hash=self._wanted.content_hash,
            unchanged=unchanged,
        )
