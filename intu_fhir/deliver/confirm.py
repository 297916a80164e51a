"""What proves that a server has a resource: its own view of it, not its status code."""

from __future__ import annotations

from dataclasses import dataclass

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
from intu_fhir.deliver.content import same_content
from intu_fhir.deliver.outcomes import unproven
from intu_fhir.deliver.publication import is_conditional
from intu_fhir.deliver.server import FhirServer
from intu_fhir.model.companion import Identity
from intu_fhir.model.outcome import Retry

_UNREADABLE = frozenset({403, 405, 501})
_NEVER_REWRITTEN = ("status", "numberOfSeries", "numberOfInstances")
"""What servers keep as it is sent, whatever else they put into another form."""


@dataclass(frozen=True, slots=True)
class Written:
    """A write that was answered.

    Args:
        sent: the body that was answered.
        before: where the resource was, with the version that it had, if that was known.
    """

    answer: Answer
    sent: Json
    before: Place | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """Where a resource is, and what the server remarked."""

    place: Place
    remark: str = ""


@dataclass(frozen=True)
class Confirmation:
    """Judges successes of one server for one resource.

    Args:
        private: values of the patient, to be hidden where the server repeats them.
    """

    server: FhirServer
    known_by: Identity
    private: tuple[str, ...]

    def of(self, written: Written) -> Proof | Retry:
        """Believe a success only where the server shows what was sent.

        Raises:
            NoAnswer, TokenRefused, TokenUnavailable: see ``FhirServer.call``.
        """
        shown = written.answer.resource(self.known_by.resource_type)
        if shown is None:
            return self._read_back(written)
        found, before = place_of(shown), written.before
        if found is None or not self._is_ours(shown) or (before and found.id != before.id):
            return self._unconfirmed(written, "another resource than the one that was sent")
        if not found.version:
            found = Place(found.id, etag(written.answer))
        return self._judged(written, shown, Proof(found))

    def _read_back(self, written: Written) -> Proof | Retry:
        """Read what was written, where the answer itself does not show it."""
        answer, kind = written.answer, self.known_by.resource_type
        value = answer.json()
        if answer.body and (value is None or value.get("resourceType") != "OperationOutcome"):
            return self._unconfirmed(written, "something that is not the resource")
        remark = self.server.clean(outcome_words(value or {}, "warning"), self.private)
        place = place_in_headers(answer, kind) or written.before
        if place is None:
            return self._unconfirmed(written, "neither the resource nor its Location")
        current = self.server.read(kind, place.id)
        if current.status in _UNREADABLE:
            return Proof(place, remark or f"not read back: HTTP {current.status}")
        shown = current.resource(kind)
        if shown is None or not self._is_ours(shown):
            return self._unconfirmed(written, "a Location where the resource is not")
        return self._judged(written, shown, Proof(place_of(shown) or place, remark))

    def _judged(self, written: Written, shown: Json, proof: Proof) -> Proof | Retry:
        """Tell a write that had an effect from one that was only answered."""
        if has_taken(written.sent, shown, written.before):
            return proof
        return self._without_effect(written, proof.place)

    def _is_ours(self, resource: Json) -> bool:
        return bears_identifier(resource, self.known_by.system, self.known_by.value)

    def _unconfirmed(self, written: Written, shows: str) -> Retry:
        answer = written.answer
        return unproven(answer.status, shows, answer.headers.get("content-type", ""))

    @staticmethod
    def _without_effect(written: Written, place: Place) -> Retry:
        version = f" (version {place.version})" if place.version else ""
        status = written.answer.status
        return Retry(
            str(status),
            f"HTTP {status}, but the server shows other content than was sent{version}; it is "
            "tried again by itself; where it stays, ask its administrator why writes of "
            f"{written.sent.get('resourceType', 'it')} have no effect",
        )


def has_taken(sent: Json, shown: Json, before: Place | None = None) -> bool:
    """Say whether a server's resource is what was sent, and not what it had before.

    Servers may put values into another form, so only with the version of before has everything
    to be equal; else a status or a number that differs says that it is something else.
    """
    if is_conditional(sent):  # the server itself has put the patient there
        sent = {**sent, "subject": shown.get("subject")}
    if same_content(sent, shown):
        return True
    found = place_of(shown)
    if before and before.version and found and found.version == before.version:
        return False
    names = [name for name in _NEVER_REWRITTEN if name in sent and name in shown]
    return all(sent[name] == shown[name] for name in names)
