"""Web pages for tests: one without login, one with people of each role."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.databases import sqlite_url
from tests.support.web import Served, serving, write_people


@pytest.fixture(scope="module")
def open_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page on loopback that asks nobody who they are."""
    folder = tmp_path_factory.mktemp("open")
    with serving(folder, sqlite_url(folder / "staging.db")) as served:
        yield served


@pytest.fixture(scope="module")
def guarded_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page that people have to log in to."""
    folder = tmp_path_factory.mktemp("guarded")
    people = write_people(folder / "people")
    with serving(
        folder, sqlite_url(folder / "staging.db"), web={"users_file": str(people)}
    ) as served:
        yield served
