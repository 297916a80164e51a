"""Sends the Provenance of what was published (FHIR Provenance)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from intu_fhir.deliver.answers import Json, Place, place_in_headers
from intu_fhir.deliver.bundle import Entry, own_id, resolved
from intu_fhir.deliver.capability import Capability
from intu_fhir.deliver.exchange import NoAnswer
from intu_fhir.deliver.ledger import Keeper
from intu_fhir.deliver.outcomes import Verdict, http_rule
from intu_fhir.deliver.publish import LOST
from intu_fhir.deliver.server import FhirServer
from intu_fhir.model.canonical import content_hash
from intu_fhir.model.companion import PROVENANCE, Companion, Identity
from intu_fhir.model.outcome import Retry

OPERATION = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"


@dataclass(frozen=True)
class Telling:
    """One Provenance for one content: what it is of decides its id, so it is told once.

    Args:
        template: as built, without target, time and activity.
        created: the study was not at the server before.
    """

    server: FhirServer
    keeper: Keeper
    study: Identity
    template: Companion
    created: bool
    now: Callable[[], datetime]

    def entry(self, results: Sequence[Identity]) -> Entry | None:
        """Return it as a part of a transaction; None where the server has it."""
        identity = Identity("Provenance", "", content_hash({"of": self.keeper.progress.hashes}))
        if identity in self.keeper.ledger.known([identity]):
            return None
        operation = "CREATE" if self.created else "UPDATE"
        resource: Json = {
            **self.template.resource,
            "target": [
                {"reference": one.urn, "type": one.resource_type} for one in (self.study, *results)
            ],
            "recorded": self.now().isoformat(timespec="seconds"),
            "activity": {"coding": [{"system": OPERATION, "code": operation}]},
        }
        return Entry(identity, resource, content_hash(resource), kind=PROVENANCE)

    def tell(self, capability: Capability, results: Sequence[Identity]) -> Retry | None:
        """Send it alone, of the very version that the server has now."""
        progress = self.keeper.progress
        entry = self.entry([one for one in results if one in progress.places])
        if entry is None:
            return None
        references = progress.references
        if version := progress.places[self.study].version:
            references[self.study.urn] += f"/_history/{version}"
        resource = resolved(entry.resource, references)
        identity = entry.identity
        if own_id(identity, capability.of("Provenance")):
            resource["id"] = identity.uuid
            return self._send(entry, "PUT", f"Provenance/{identity.uuid}", resource)
        return self._send(entry, "POST", "Provenance", resource)

    def _send(self, entry: Entry, method: str, path: str, resource: Json) -> Retry | None:
        progress = self.keeper.progress
        if not self.keeper.ledger.keep_going():
            return LOST
        try:
            answer = self.server.call(
                method, path, resource=resource, headers={"Prefer": "return=minimal"}
            )
        except NoAnswer as error:
            if method == "PUT" or not error.maybe_done:
                raise
            # Nothing finds it again at the server, so it is rather missing than doubled.
            progress.remarks.append("whether the Provenance has arrived is not known")
            self.keeper.keep(PROVENANCE, entry.identity, Place(""), entry.content_hash)
            return None
        if http_rule(answer.status).verdict is not Verdict.DELIVERED:
            failed = self.server.failed(answer)
            if isinstance(failed, Retry):
                return replace(failed, detail=f"Provenance: {failed.detail}")
            progress.refuse("Provenance", failed.detail)
            return None
        progress.sent = True
        place = place_in_headers(answer, "Provenance") or Place(entry.identity.uuid)
        self.keeper.keep(PROVENANCE, entry.identity, place, entry.content_hash)
        return None
