"""Fixtures of deliveries to a FHIR server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.demo.ehr import StandInEhr
from intu_fhir.settings.schema import FhirDestination
from tests.support.clock import FakeClock

ConnectFhir = Callable[..., FhirClient]


@pytest.fixture
def ehr(tmp_path: Path) -> Iterator[StandInEhr]:
    """A stand-in EHR without a resource."""
    with StandInEhr(tmp_path / "ehr") as server:
        yield server


@pytest.fixture
def connect(clock: FakeClock) -> Iterator[ConnectFhir]:
    """Make clients of a base URL; they are closed at the end."""
    clients: list[FhirClient] = []

    def make(base_url: str, **settings: Any) -> FhirClient:
        values: dict[str, Any] = {"type": "fhir", "base_url": base_url, "timeout_seconds": 5.0}
        client = FhirClient(FhirDestination(**{**values, **settings}), clock=clock)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(ehr: StandInEhr, connect: ConnectFhir) -> FhirClient:
    """A client of the stand-in EHR."""
    return connect(ehr.base_url)
