"""A FHIR server as a far side: authorised requests, what it offers, what it finds."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from urllib.parse import urlencode

import orjson

from intu_fhir.deliver.answers import (
    Answer,
    Json,
    bears_identifier,
    is_part,
    matches,
    place_of,
    said,
    words,
)
from intu_fhir.deliver.answers import token as token
from intu_fhir.deliver.auth import Authorizer, TokenRefused, TokenUnavailable, authorizer
from intu_fhir.deliver.capability import UNKNOWN, Capability, read_capability
from intu_fhir.deliver.exchange import Exchange, NoAnswer
from intu_fhir.deliver.outcomes import Verdict, failed, http_rule, nothing_there, unproven
from intu_fhir.deliver.scrub import scrub
from intu_fhir.deliver.waits import wait_asked_for
from intu_fhir.model.canonical import exact_number
from intu_fhir.model.outcome import Dead, Retry
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import FhirDestination

MAX_ANSWER_BYTES = 8 * 1024**2
FHIR_JSON = "application/fhir+json"
_FORM = "application/x-www-form-urlencoded"
_CAPABILITY_SECONDS = 3_600.0
_SILENT_CAPABILITY_SECONDS = 300.0
_AS_OF_NOW = {"Cache-Control": "no-cache"}
"""HAPI FHIR answers a search with what the like found up to a minute ago, unless it is asked not to
(hapifhir.io, JPA server, "Search Result Caching"); a proxy may do the same (RFC 9111 5.2.1.4)."""

_NOT_FOUND = 404
_NO_POST_SEARCH = frozenset({404, 405, 501})


class FhirServer:
    """Talks to one FHIR server; any number of threads may share it.

    Args:
        auth: who we are; made from the destination's ``auth`` where it is not given.

    Raises:
        ConfigurationError: a key or certificate of the destination cannot be used.
    """

    def __init__(
        self, destination: FhirDestination, *, clock: Clock, auth: Authorizer | None = None
    ) -> None:
        self.destination = destination
        self._clock = clock
        self._base = destination.base_url.rstrip("/")
        self._exchange = Exchange(
            timeout_seconds=destination.timeout_seconds,
            max_answer_bytes=max(MAX_ANSWER_BYTES, 2 * destination.max_body_bytes),
            tls=destination.tls,
        )
        self._auth = auth or authorizer(destination.auth, self._base, self._exchange, clock)
        self._lock = threading.Lock()
        self._capability: tuple[float, Capability] | None = None

    def metadata(self) -> Capability | Retry | Dead:
        """Return what the server says that it can do; asked for once an hour.

        A server that refuses to say is ``UNKNOWN``, not an error.
        """
        with self._lock:
            if self._capability and self._clock.monotonic() < self._capability[0]:
                return self._capability[1]
        try:
            answer = self.call("GET", "metadata")
        except (NoAnswer, TokenUnavailable) as error:
            return Retry(detail=f"The server's metadata cannot be read: {error}", silent=True)
        except TokenRefused as error:
            return Dead(detail=str(error))
        if http_rule(answer.status).verdict is Verdict.RETRY:
            return self.failed(answer)
        statement = answer.resource("CapabilityStatement") if answer.ok else None
        found = read_capability(statement) if statement else UNKNOWN
        good_for = _CAPABILITY_SECONDS if statement else _SILENT_CAPABILITY_SECONDS
        with self._lock:
            self._capability = (self._clock.monotonic() + good_for, found)
        return found

    def read(self, resource_type: str, identity: str) -> Answer:
        """Read one resource by its id.

        Raises:
            NoAnswer, TokenRefused, TokenUnavailable: see ``call``.
        """
        return self.call("GET", f"{resource_type}/{identity}")

    def search(self, resource_type: str, system: str, value: str) -> Answer:
        """Search by identifier, in the URL: for identifiers that are not a patient's."""
        query = f"identifier={token(system, value)}&_count=5"
        return self.call("GET", f"{resource_type}?{query}", headers=_AS_OF_NOW)

    def whole(self, found: Json) -> Json:
        """Return what a search found; read anew where that is a part of it, or of no version.

        Raises:
            NoAnswer, TokenRefused, TokenUnavailable: see ``call``.
        """
        place, kind = place_of(found), words(found.get("resourceType"))
        if place is None or (place.version and not is_part(found)):
            return found
        return self.read(kind, place.id).resource(kind) or found

    def search_patient(self, system: str, value: str) -> Answer:
        """Search a patient by identifier.

        By POST, so that no identifier of a patient gets into the logs of servers and proxies;
        by GET only where a server does not know POST for that.
        """
        form = urlencode({"identifier": f"{system}|{value}", "_count": "5"}).encode()
        answer = self.call(
            "POST", "Patient/_search", body=form, content_type=_FORM, headers=_AS_OF_NOW
        )
        if answer.status in _NO_POST_SEARCH:
            return self.search("Patient", system, value)
        return answer

    def call(
        self,
        method: str,
        path: str,
        *,
        resource: Json | None = None,
        body: bytes = b"",
        content_type: str = FHIR_JSON,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request below ``base_url``; a refused token is renewed once.

        Raises:
            NoAnswer: no complete answer within the destination's ``timeout_seconds``.
            TokenRefused: the token endpoint does not accept this client.
            TokenUnavailable: the token endpoint does not work at the moment.
        """
        if resource is not None:
            body = orjson.dumps(resource, default=exact_number)
        sent = {"Accept": FHIR_JSON, **(headers or {})}
        if body:
            sent["Content-Type"] = content_type
        authorization = self._auth.header()
        answer = self._send(method, path, sent, body, authorization)
        if answer.status == 401 and self._auth.renew(authorization):
            answer = self._send(method, path, sent, body, self._auth.header())
        return answer

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, authorization: str
    ) -> Answer:
        url = f"{self._base}/{path}" if path else self._base
        if authorization:
            headers = {**headers, "Authorization": authorization}
        return self._exchange.send(method, url, headers, body)

    def failed(self, answer: Answer, private: tuple[str, ...] = ()) -> Retry | Dead:
        """Return the outcome of an answer that ends a delivery.

        Args:
            private: values of the patient, to be hidden where the server repeats them.
        """
        if http_rule(answer.status).verdict is Verdict.DELIVERED:
            shows = "something that was not asked for"
            return unproven(answer.status, shows, answer.headers.get("content-type", ""))
        if answer.status == _NOT_FOUND and not answer.is_fhir:
            return nothing_there(answer.headers.get("content-type", ""))
        wait = wait_asked_for(answer.status, answer.headers, self._clock.now())
        return failed(answer.status, self.words(answer, private), wait)

    def words(self, answer: Answer, private: tuple[str, ...] = ()) -> str:
        """Return what the server said, without secrets."""
        return self.clean(said(answer), private)

    def clean(self, text: str, private: tuple[str, ...] = ()) -> str:
        """Return a text without secrets and without the given values."""
        return scrub(text, (*self._auth.secrets(), *private))

    def close(self) -> None:
        """Close idle connections."""
        self._exchange.close()


def bearing(answer: Answer, resource_type: str, system: str, value: str) -> list[Json] | None:
    """Return what a search found; None where the answer is no searchset of this identifier.

    A server that ignores the parameter answers with all it has: then nothing was found out.
    """
    bundle = answer.resource("Bundle")
    if bundle is None:
        return None
    found = matches(bundle, resource_type)
    right = [resource for resource in found if bears_identifier(resource, system, value)]
    return right if len(right) == len(found) else None
