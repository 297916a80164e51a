"""What the proofs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.receivers import Receivers


@pytest.fixture(scope="session")
def receivers() -> Iterator[Receivers]:
    """Where receivers in processes of their own come from."""
    with Receivers() as source:
        yield source
