"""A listener for each test that asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.receiving import Receiving

StartReceiving = Callable[..., Receiving]


@pytest.fixture
def start_receiving(tmp_path: Path) -> Iterator[StartReceiving]:
    """Start listeners with options of the test's own; they end with it."""
    started: list[Receiving] = []

    def start(**options: object) -> Receiving:
        folder = tmp_path / f"files-{len(started)}"
        started.append(Receiving(folder, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for receiving in started:
        receiving.listener.stop(grace_seconds=0)


@pytest.fixture
def receiving(start_receiving: StartReceiving) -> Receiving:
    """A listener with quick limits."""
    return start_receiving()
