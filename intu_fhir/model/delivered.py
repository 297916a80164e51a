"""What a FHIR server has of the resources beside an ImagingStudy."""

from __future__ import annotations

from dataclasses import dataclass

from intu_fhir.model.companion import Identity


@dataclass(frozen=True, slots=True)
class DeliveredResource:
    """What a server has of a resource beside the ImagingStudy.

    Args:
        study_key: of the study it belongs to; None = all share it.
        withdrawn: it was marked as entered in error.
    """

    kind: str
    identity: Identity
    study_key: int | None
    server_id: str
    version: str
    content_hash: str
    withdrawn: bool = False
