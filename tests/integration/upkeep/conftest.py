"""A site with one published study, on which upkeep is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running import Running, running_site
from tests.support.studies import make_study


@pytest.fixture
def published(tmp_path: Path, migrated_database_url: str) -> Iterator[Running]:
    """A running site whose one study of four images is at EHR and PACS."""
    with running_site(tmp_path, migrated_database_url) as running:
        running.send(make_study(instances=2))
        running.rest()
        yield running
