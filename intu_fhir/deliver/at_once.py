"""Sends a study and what goes beside it in one transaction: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from intu_fhir.deliver.answers import Answer, Json, Place, bears_identifier, place_of
from intu_fhir.deliver.bundle import MAX_ENTRIES, Entry, places_in, resolved, transaction
from intu_fhir.deliver.capability import Capability
from intu_fhir.deliver.content import number_of_instances, rebase, same_content
from intu_fhir.deliver.exchange import NoAnswer
from intu_fhir.deliver.ledger import Keeper
from intu_fhir.deliver.outcomes import Verdict, http_rule
from intu_fhir.deliver.publication import Publication, private_values
from intu_fhir.deliver.publish import LOST
from intu_fhir.deliver.server import FhirServer, bearing
from intu_fhir.model.canonical import canonical_json
from intu_fhir.model.outcome import Delivered, DeliveryOutcome, Retry

_CONFLICTS = 3


@dataclass(frozen=True)
class AtOnce:
    """One transaction at one server."""

    server: FhirServer
    capability: Capability
    keeper: Keeper
    study: Publication

    def send(self, entries: Sequence[Entry]) -> DeliveryOutcome | None:
        """Send all entries; None where they have to go one by one.

        Raises:
            NoAnswer, TokenRefused, TokenUnavailable: see ``FhirServer.call``.
        """
        if not self._fits(entries):
            return None
        for _ in range(_CONFLICTS):
            ready = self._located(entries)
            if ready is None:
                return None
            if not self.keeper.ledger.keep_going():
                return LOST
            answer = self._post(ready)
            if isinstance(answer, Delivered):
                return answer
            verdict = http_rule(answer.status).verdict
            if verdict is Verdict.DELIVERED:
                return self._confirmed(answer, ready)
            if verdict is Verdict.RETRY:
                return self.server.failed(answer, private_values(self.study.resource))
            if verdict not in {Verdict.REREAD, Verdict.GONE} or not any(e.place for e in ready):
                return None
            entries = [self._reread(entry) for entry in ready]
            if _places(entries) == _places(ready):  # nobody has changed what it was refused for
                return None
        return None

    def _fits(self, entries: Sequence[Entry]) -> bool:
        """Say whether it is worth a transaction and within what a server takes."""
        limits = self.server.destination
        if not 1 < len(entries) <= MAX_ENTRIES:
            return False
        if number_of_instances(self.study.resource) > limits.max_instances:
            return False
        return sum(len(canonical_json(e.resource)) for e in entries) <= limits.max_body_bytes

    def _post(self, entries: Sequence[Entry]) -> Answer | Delivered:
        """Post the transaction; one without an answer is looked up before it is repeated."""
        there = self.keeper.progress.references
        bundle = transaction(
            [replace(e, resource=resolved(e.resource, there)) for e in entries], self.capability
        )
        try:
            return self.server.call(
                "POST", "", resource=bundle, headers={"Prefer": "return=minimal"}
            )
        except NoAnswer as error:
            if error.maybe_done and (places := self._found(entries)):
                return self._delivered(entries, places)
            raise

    # ---- before

    def _located(self, entries: Sequence[Entry]) -> list[Entry] | None:
        """Look for what is not known to be there; None where several match."""
        located = []
        for entry in entries:
            if entry.place or not entry.identity.system:
                located.append(entry)
                continue
            found = self._search(entry)
            if found is None and self.capability.of(entry.identity.resource_type).finds_by_itself:
                found = []
            if found is None or len(found) > 1:
                return None
            located.append(self._onto(entry, self.server.whole(found[0])) if found else entry)
        return located

    def _search(self, entry: Entry) -> list[Json] | None:
        identity = entry.identity
        answer = self.server.search(identity.resource_type, identity.system, identity.value)
        return bearing(answer, identity.resource_type, identity.system, identity.value)

    def _reread(self, entry: Entry) -> Entry:
        """Take over what the server has now of a resource that was there."""
        if entry.place is None:
            return entry
        identity = entry.identity
        kind = identity.resource_type
        theirs = self.server.read(kind, entry.place.id).resource(kind)
        if theirs is None or not bears_identifier(theirs, identity.system, identity.value):
            self.keeper.progress.places.pop(identity, None)
            return replace(entry, place=None)
        return self._onto(entry, theirs)

    def _onto(self, entry: Entry, theirs: Json) -> Entry:
        """Put an entry on top of what the server has."""
        place = place_of(theirs)
        if place:
            self.keeper.progress.places[entry.identity] = place
        gone = frozenset() if entry.kind else self.study.gone
        return replace(entry, place=place, resource=rebase(entry.resource, theirs, gone))

    # ---- after

    def _confirmed(self, answer: Answer, entries: Sequence[Entry]) -> DeliveryOutcome:
        places = places_in(answer, entries, self.capability) or self._found(entries)
        if places is None:
            return Retry(
                str(answer.status),
                f"HTTP {answer.status}, but the server does not show what the transaction brought; "
                "it is tried again by itself; where it stays, check that base_url is the FHIR "
                "endpoint",
            )
        return self._delivered(entries, places)

    def _delivered(self, entries: Sequence[Entry], places: Sequence[Place]) -> Delivered:
        progress, study = self.keeper.progress, self.study.recognised_by
        progress.sent = True
        for entry, place in zip(entries, places, strict=True):
            if entry.kind:
                self.keeper.keep(entry.kind, entry.identity, place, entry.content_hash)
            else:
                progress.places[study] = place
        place = progress.places[study]
        self.keeper.ledger.keep_study(place, self.study.content_hash, self.study.remark)
        return Delivered(
            "200",
            server_id=place.id,
            version=place.version,
            content_hash=self.study.content_hash,
            warning=self.study.remark,
        )

    def _found(self, entries: Sequence[Entry]) -> list[Place] | None:
        """Return where everything is, if the server has all of it just as it was sent."""
        there: dict[str, str] = dict(self.keeper.progress.references)
        pairs: list[tuple[Entry, Json | None, Place]] = []
        for entry in entries:
            if not entry.identity.system:  # nothing finds it; it came with the others
                pairs.append((entry, None, Place(entry.identity.uuid)))
                continue
            found = self._search(entry) or []
            place = place_of(found[0]) if len(found) == 1 else None
            if place is None:
                return None
            there[entry.identity.urn] = f"{entry.identity.resource_type}/{place.id}"
            pairs.append((entry, found[0], place))
        same = all(
            theirs is None or same_content(resolved(entry.resource, there), theirs)
            for entry, theirs, _ in pairs
        )
        return [place for _, _, place in pairs] if same else None


def _places(entries: Sequence[Entry]) -> list[Place | None]:
    return [entry.place for entry in entries]
