"""Every page of the web shows on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from intu_fhir.db.session import Database
from tests.support.seeded import stage
from tests.support.web import serving

PATHS = ("/", "/grid", "/studies", "/failures", "/review", "/destinations", "/sql", "/audit")


@pytest.mark.parametrize("path", [*PATHS, "/metrics", "/studies?state=failed&modality=CT"])
def test_a_page_shows_on_both_databases(path: str, tmp_path: Path, database: Database) -> None:
    """With a study that failed and one on its way, each page answers with 200."""
    states = {"ehr_fhir": "dead", "pacs_archive": "retrying"}
    with database.write() as connection:
        stage(connection, "one", deliveries=states, modalities="CT")
        stage(connection, "two", deliveries=states)
    with serving(tmp_path, database.url) as served, served.client() as client:
        answer = client.get(path)
    assert answer.status_code == 200, answer.text
