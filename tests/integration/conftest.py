"""Fixtures of tests in several folders."""

from __future__ import annotations

import pytest

from intu_fhir.db import partitions, spans


@pytest.fixture
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a span on SQLite have one key, and a part on PostgreSQL end soon after what is there."""
    monkeypatch.setattr(spans, "KEYS_AT_A_TIME", 1)
    monkeypatch.setattr(partitions, "LEAST_AHEAD", 1)
