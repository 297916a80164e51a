"""A plug-in of pytest that runs tests on receivers that are wrong on purpose.

``INTU_WRONG`` says in JSON which test gets which of ``tests.support.wrong_receivers``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator

import pytest

from tests.support.wrong_receivers import WRONG

_WHICH: dict[str, str] = json.loads(os.environ.get("INTU_WRONG", "{}"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try each once: that it fails is what is wanted."""
    for item in items:
        item.own_markers = [mark for mark in item.own_markers if mark.name != "flaky"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Be wrong from before the fixtures of a test until after it."""
    with WRONG[_WHICH[item.nodeid]]():
        return (yield)
