"""The whole receive path for each test that asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.db.session import Database
from tests.support.whole_receiver import WholeReceiver

StartWhole = Callable[..., WholeReceiver]


@pytest.fixture
def start_whole(database: Database, tmp_path: Path) -> Iterator[StartWhole]:
    """Start receivers with options of the test's own; they end with it."""
    started: list[WholeReceiver] = []

    def start(**options: Any) -> WholeReceiver:
        started.append(WholeReceiver(database, tmp_path / f"files-{len(started)}", **options))
        return started[-1]

    yield start
    for whole in started:
        whole.close()


@pytest.fixture
def whole(start_whole: StartWhole) -> WholeReceiver:
    """A receiver on an empty staging database."""
    return start_whole()
