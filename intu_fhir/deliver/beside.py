"""Brings an ImagingStudy to a server together with what goes beside it.

What all studies share comes first, alone. Then the study and its own resources in one
transaction where the server offers transactions; else one by one, each after what it refers to.
What the server has already is not sent again. What the server refuses to take beside a study
keeps neither the study nor the rest back; what it cannot take at the moment is tried again, as
the study itself would be.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime

from intu_fhir.deliver.answers import Json, Place
from intu_fhir.deliver.at_once import AtOnce
from intu_fhir.deliver.auth import TokenRefused, TokenUnavailable
from intu_fhir.deliver.bundle import Entry, resolved, with_links
from intu_fhir.deliver.capability import Capability
from intu_fhir.deliver.exchange import NoAnswer
from intu_fhir.deliver.ledger import Keeper, Ledger, Progress, Wanted
from intu_fhir.deliver.publication import Publication
from intu_fhir.deliver.publish import LOST, Publisher
from intu_fhir.deliver.remarks import NOT_SENT, still_said
from intu_fhir.deliver.server import FhirServer
from intu_fhir.deliver.told import Telling
from intu_fhir.deliver.withdraw import Withdrawal
from intu_fhir.model.canonical import content_hash
from intu_fhir.model.companion import (
    DEVICE,
    DOSE,
    ENDPOINT,
    MEASUREMENTS,
    PROVENANCE,
    SHARED,
    Companion,
    Identity,
)
from intu_fhir.model.delivered import DeliveredResource
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome, Retry

_RESULTS = (DOSE, MEASUREMENTS)


class SeveralPublisher:
    """One publication of several resources at one server.

    Args:
        guard: held while shared resources are looked after, so that two studies at once do not
            each make one.
    """

    def __init__(
        self,
        server: FhirServer,
        wanted: Wanted,
        ledger: Ledger,
        now: Callable[[], datetime],
        guard: AbstractContextManager[object] | None = None,
    ) -> None:
        self._server, self._wanted, self._ledger, self._now = server, wanted, ledger, now
        self._guard = guard or threading.Lock()
        self._progress = Progress()
        self._keeper = Keeper(ledger, wanted.study_key, self._progress)
        self._known: dict[Identity, DeliveredResource] = {}

    def run(self) -> DeliveryOutcome:
        """Publish everything, and say in one outcome what came of it."""
        try:
            return self._publish()
        except (NoAnswer, TokenUnavailable) as error:
            return Retry(detail=f"{error}; it is tried again by itself", silent=True)
        except TokenRefused as error:
            return Dead("401", str(error))
        finally:
            self._ledger.flush()

    def _publish(self) -> DeliveryOutcome:
        capability = self._server.metadata()
        if not isinstance(capability, Capability):
            return capability
        companions = self._taken(capability)
        shared = [one for one in companions if one.kind in SHARED]
        if waits := self._bring_shared(shared):
            return waits
        study = self._with_links(shared)
        self._known |= self._ledger.known(one.identity for one in companions)
        results = self._own(one for one in companions if one.kind in _RESULTS)
        told = next((one for one in companions if one.kind == PROVENANCE), None)
        outcome = self._bring(capability, study, results, told)
        if not isinstance(outcome, Delivered):
            return outcome
        return self._withdraw(results) or self._ended(outcome)

    def _taken(self, capability: Capability) -> list[Companion]:
        """Leave out what the server does not take; the study does not wait for it."""
        taken = []
        for one in self._wanted.companions:
            kind = one.identity.resource_type
            remark = f"{kind} {NOT_SENT} the server does not take it"
            if capability.of(kind).takes:
                taken.append(one)
            elif remark not in self._progress.remarks:
                self._progress.remarks.append(remark)
        return taken

    def _own(self, companions: Iterable[Companion]) -> list[Companion]:
        """Leave out what another study has brought: an Observation never changes its study."""
        own = []
        for one in companions:
            known = self._known.get(one.identity)
            if known and known.study_key not in {None, self._wanted.study_key}:
                self._progress.remarks.append(
                    f"Observation {one.identity.value} {NOT_SENT} another study has it"
                )
            else:
                own.append(one)
        return own

    # ---- what all studies share

    def _bring_shared(self, shared: Sequence[Companion]) -> Retry | None:
        if not shared:
            return None
        with self._guard:
            self._known |= self._ledger.known(one.identity for one in shared)
            for one in shared:
                entry = Entry(one.identity, one.resource, content_hash(one.resource))
                if waits := self._bring_one(replace(entry, kind=one.kind)):
                    return waits
            self._ledger.flush()
        return None

    def _with_links(self, shared: Sequence[Companion]) -> Publication:
        """Let the study name the image service and the equipment that the server has."""
        there = [one for one in shared if one.identity in self._progress.places]
        endpoint = next((self._reference(o) for o in there if o.kind == ENDPOINT), None)
        performers: dict[str, list[Json]] = {}
        for one in there:
            for uid in one.series if one.kind == DEVICE else ():
                performers.setdefault(uid, []).append(self._reference(one))
        resource = with_links(self._wanted.study.resource, endpoint, performers)
        return replace(self._wanted.study, resource=resource, content_hash=content_hash(resource))

    def _reference(self, companion: Companion) -> Json:
        reference = self._progress.references[companion.identity.urn]
        return {"reference": reference, "type": companion.identity.resource_type}

    # ---- the study and its own

    def _bring(
        self,
        capability: Capability,
        study: Publication,
        results: Sequence[Companion],
        told: Companion | None,
    ) -> DeliveryOutcome:
        entries = [self._entry(one) for one in results]
        places = self._progress.places
        places |= {one.identity: one.place for one in entries if one.place}
        if study.server_id:
            places[study.recognised_by] = Place(study.server_id, study.version)
        self._progress.hashes = [study.content_hash, *(one.content_hash for one in entries)]
        changed = [one for one in entries if self._is_changed(one)]
        telling = self._telling(study, told) if told else None
        identities = [one.identity for one in results]
        if capability.transaction:
            at_once = AtOnce(self._server, capability, self._keeper, study)
            last = telling.entry(identities) if telling else None
            whole = [*self._study_entry(study), *changed, *([last] if last else [])]
            outcome = at_once.send(whole)
            if outcome is not None:
                return outcome
        return self._in_turn(capability, study, changed, telling, identities)

    def _entry(self, companion: Companion) -> Entry:
        """Return a result about the same subject as the study."""
        subject = self._wanted.study.resource["subject"]
        resource = {**companion.resource, "subject": subject}
        known = self._known.get(companion.identity)
        place = Place(known.server_id, known.version) if known else None
        digest = content_hash(resource)
        return Entry(companion.identity, resource, digest, place, companion.kind)

    def _is_changed(self, entry: Entry) -> bool:
        known = self._known.get(entry.identity)
        return known is None or known.withdrawn or known.content_hash != entry.content_hash

    @staticmethod
    def _study_entry(study: Publication) -> list[Entry]:
        if study.is_there(study.content_hash):
            return []
        place = Place(study.server_id, study.version) if study.server_id else None
        return [Entry(study.recognised_by, study.resource, study.content_hash, place)]

    def _telling(self, study: Publication, template: Companion) -> Telling:
        return Telling(
            self._server,
            self._keeper,
            study.recognised_by,
            template,
            created=not study.server_id,
            now=self._now,
        )

    def _in_turn(
        self,
        capability: Capability,
        study: Publication,
        changed: Sequence[Entry],
        telling: Telling | None,
        results: Sequence[Identity],
    ) -> DeliveryOutcome:
        """Send one after the other: the study, then what refers to it."""
        outcome = Publisher(self._server, study, self._ledger.keep_going).run()
        if not isinstance(outcome, Delivered):
            return outcome
        place = Place(outcome.server_id, outcome.version)
        self._progress.places[study.recognised_by] = place
        self._progress.sent |= not outcome.unchanged
        self._ledger.keep_study(place, outcome.content_hash, outcome.warning)
        for entry in changed:
            if waits := self._bring_one(entry):
                return waits
        waits = telling.tell(capability, results) if telling else None
        return waits or outcome

    def _bring_one(self, entry: Entry) -> Retry | None:
        """Send one resource; a refusal is remembered, only what may pass later ends the try."""
        if not self._ledger.keep_going():
            return LOST
        identity, known = entry.identity, self._known.get(entry.identity)
        publication = Publication(
            self._wanted.study.study_uid,
            resolved(entry.resource, self._progress.references),
            entry.content_hash,
            server_id=known.server_id if known else "",
            version=known.version if known else "",
            last_hash=known.content_hash if known and not known.withdrawn else "",
            identity=identity,
        )
        outcome = Publisher(self._server, publication, self._ledger.keep_going).run()
        if isinstance(outcome, Retry):
            return replace(outcome, detail=f"{identity.resource_type}: {outcome.detail}")
        if not isinstance(outcome, Delivered):
            self._progress.refuse(identity.resource_type, outcome.detail)
            return None
        place = Place(outcome.server_id, outcome.version)
        self._progress.places[identity] = place
        if not outcome.unchanged:
            self._progress.sent = True
            self._keeper.keep(entry.kind, identity, place, entry.content_hash)
        return None

    # ---- the end

    def _withdraw(self, results: Sequence[Companion]) -> Retry | None:
        """Take results back that a later report has left out."""
        wanted = {one.identity for one in results}
        kinds = self._wanted.kinds & set(_RESULTS)
        withdrawal = Withdrawal(self._server, self._keeper, self._wanted.study.study_uid)
        for known in self._ledger.of_study():
            gone = known.kind in kinds and known.identity not in wanted and not known.withdrawn
            if not gone:
                continue
            if waits := withdrawal.withdraw(known) if self._ledger.keep_going() else LOST:
                return waits
        return None

    def _ended(self, outcome: Delivered) -> Delivered | Dead:
        progress = self._progress
        if progress.refused:
            others = len(progress.refused) - 1
            more = f", and {others} more" if others else ""
            return Dead(
                outcome.status, f"The ImagingStudy is delivered; {progress.refused[0]}{more}"
            )
        study = self._wanted.study
        before = study.last_warning if study.is_there(outcome.content_hash) else ""
        warning = still_said(before, outcome.warning, *progress.remarks)
        return replace(outcome, warning=warning, unchanged=not progress.sent)
