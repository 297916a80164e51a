"""A running Airflow, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.airflow import Airflow
from tests.support.databases import PostgresServer


@pytest.fixture(scope="package")
def airflow(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Airflow]:
    """A running Airflow for sites that differ by name."""
    airflow = Airflow(tmp_path_factory.mktemp("airflow"), postgres_server)
    try:
        airflow.renew_metadata()
        airflow.start()
        yield airflow
    finally:
        airflow.close()
