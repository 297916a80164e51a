"""What a destination should have of a study, what it has, and how far a delivery has come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from intu_fhir.deliver.answers import Place
from intu_fhir.deliver.publication import Publication
from intu_fhir.model.companion import SHARED, Companion, Identity
from intu_fhir.model.delivered import DeliveredResource


class Ledger(Protocol):
    """What this destination has, on disk."""

    def known(self, identities: Iterable[Identity]) -> Mapping[Identity, DeliveredResource]:
        """Return what the server has of these, whatever study brought them."""
        ...

    def of_study(self) -> Sequence[DeliveredResource]:
        """Return what the server has of this study alone."""
        ...

    def keep(self, delivered: DeliveredResource) -> None:
        """Note what the server has confirmed."""
        ...

    def keep_study(self, place: Place, content_hash: str, warning: str = "") -> None:
        """Note where the study is and what was remarked on it, before the rest has followed."""
        ...

    def flush(self) -> None:
        """Put on disk what was noted."""
        ...

    def keep_going(self) -> bool:
        """Say whether the study is still this worker's; renews its lease in good time."""
        ...


@dataclass(frozen=True)
class Wanted:
    """What a destination should have of a study.

    Args:
        study: the ImagingStudy with the destination's own subject.
        companions: what goes beside it, in an order in which each leads to earlier ones only.
        kinds: what the destination asks for; results of these kinds that are no longer among
            the companions are marked as entered in error.
    """

    study: Publication
    study_key: int
    companions: Sequence[Companion]
    kinds: frozenset[str]


@dataclass
class Progress:
    """What has come of a delivery so far.

    Args:
        hashes: of the study and its results; together they are the published content.
        remarks: what the operator should know although all is well.
        refused: what the server will not have.
        sent: something was sent at all.
    """

    places: dict[Identity, Place] = field(default_factory=dict)
    hashes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    sent: bool = False

    @property
    def references(self) -> dict[str, str]:
        """Literal references to all that is known to be at the server, by ``urn:uuid:``."""
        return {one.urn: f"{one.resource_type}/{p.id}" for one, p in self.places.items()}

    def refuse(self, what: str, detail: str) -> None:
        """Remember that the server will not have something; the rest goes on."""
        self.refused.append(f"{what}: {detail}")


@dataclass(frozen=True)
class Keeper:
    """Notes what a server has confirmed, in the ledger and for the rest of this delivery."""

    ledger: Ledger
    study_key: int
    progress: Progress

    def keep(
        self, kind: str, identity: Identity, place: Place, digest: str, *, withdrawn: bool = False
    ) -> None:
        """Note one resource."""
        self.progress.places[identity] = place
        key = None if kind in SHARED else self.study_key
        self.ledger.keep(
            DeliveredResource(kind, identity, key, place.id, place.version, digest, withdrawn)
        )
