"""A site that delivers staged studies to far sides, without a receiver."""

from __future__ import annotations

from typing import Any

from tests.reliability.ground import Ground
from tests.support.ports import free_port
from tests.support.site_folder import write_site
from tests.support.worker_process import WorkOrder


def fhir_at(base_url: str, **settings: Any) -> dict[str, Any]:
    """Return a FHIR destination."""
    subject = {"strategy": "logical"}
    common = {"type": "fhir", "base_url": base_url, "subject": subject, "timeout_seconds": 20}
    return {**common, **settings}


def pacs_at(port: int, **settings: Any) -> dict[str, Any]:
    """Return a PACS as a destination."""
    where = {"type": "dicom", "host": "127.0.0.1", "port": port, "called_ae_title": "PACS"}
    return {**where, "timeout_seconds": 20, **settings}


def write_delivering_site(
    place: Ground, destinations: dict[str, dict[str, Any]], **site: Any
) -> WorkOrder:
    """Write the configuration; return what a worker of it is."""
    retry = {"first_seconds": 0.5, "max_seconds": 2, "max_attempts": 1_000}
    write_site(
        place.folder,
        database=place.url,
        port=free_port(),
        destinations=destinations,
        **{"retry": retry, **site},
    )
    return WorkOrder(str(place.folder), str(place.folder / "log"))
