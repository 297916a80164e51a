"""Who was rejected lately."""

from __future__ import annotations

from datetime import timedelta

from intu_fhir.receive.rejections import KEPT, Rejections
from tests.support.clock import START


def test_a_peer_is_counted_by_its_reason_and_forgotten_after_a_day() -> None:
    """The same peer for the same reason is one; after a silent day it begins anew."""
    seen = Rejections()
    for minutes in (0, 10):
        seen.note("ct", "10.0.0.5", "called_ae_title", START + timedelta(minutes=minutes))
    seen.note("ct", "10.0.0.5", "calling_ae_title", START + timedelta(minutes=5))
    now = START + timedelta(hours=1)
    told = [(one.detail, one.count, one.since) for one in seen.lately(now)]
    assert told == [
        ("calling_ae_title", 1, START + timedelta(minutes=5)),
        ("called_ae_title", 2, START),
    ]
    tomorrow = START + timedelta(days=1, minutes=11)
    assert seen.lately(tomorrow) == []
    seen.note("ct", "10.0.0.5", "called_ae_title", tomorrow)
    assert [(one.count, one.since) for one in seen.lately(tomorrow)] == [(1, tomorrow)]


def test_whoever_knocks_without_end_fills_nothing() -> None:
    """Only so many peers are kept, and the latest of them."""
    seen = Rejections()
    for number in range(10 * KEPT):
        seen.note("ct", f"10.0.{number // 250}.{number % 250}", "called_ae_title", START)
    kept = seen.lately(START)
    assert (len(kept), kept[0].peer) == (KEPT, "10.0.1.249")
