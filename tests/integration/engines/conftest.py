"""A running Airflow, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.airflow import Airflow


@pytest.fixture(scope="session")
def airflow_metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's metadata as it is before the first DAG; others are copied from it."""
    airflow = Airflow(tmp_path_factory.mktemp("airflow-template"))
    airflow.migrate()
    airflow.close()
    return airflow.home / "airflow.db"


@pytest.fixture(scope="session")
def airflow(airflow_metadata: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """A running Airflow for sites that differ by name."""
    airflow = Airflow(tmp_path_factory.mktemp("airflow"))
    airflow.migrate(airflow_metadata)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.close()
