"""Who is silent delays nobody else: results of storage commitment, on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.app import telling as app_telling
from intu_fhir.app.committing import CommitmentResults, TellingFar
from intu_fhir.app.telling import TellingHere
from intu_fhir.db import commitment_requests as requests
from intu_fhir.db import commitments as table
from intu_fhir.db.commitment_report import CommitmentRow, list_commitments
from intu_fhir.db.session import Database
from intu_fhir.errors import StoreUnavailable, TransientError
from intu_fhir.files.local import LocalFileStore
from intu_fhir.model.commitment import (
    CHECKED,
    REPORTED,
    CommitmentAsked,
    ReferencedInstance,
    Requester,
)
from intu_fhir.model.instance import Origin
from intu_fhir.receive.reporting import Mailbox, OpenRequesters
from intu_fhir.settings.schema import RetrySettings, StorageCommitment
from intu_fhir.stage.commitments import Commitments
from tests.support.clock import FakeClock
from tests.support.staging import CT_STORAGE

TIMEOUT = 30


@dataclass
class Telling:
    """Results that are due, and associations that they can be told on."""

    database: Database
    clock: FakeClock
    files: LocalFileStore
    settings: StorageCommitment = field(default_factory=StorageCommitment)
    requesters: OpenRequesters = field(default_factory=OpenRequesters)

    def ask(self, title: str, number: int = 1, channel: str = "radiology") -> None:
        """Have something asked, and looked at."""
        asked = CommitmentAsked(f"1.2.{number}", (ReferencedInstance(CT_STORAGE, "1.2.3.9"),))
        origin = Origin(f"{title}-{channel}", channel, "network", title, "INTU_SCP")
        with self.database.write() as connection:
            requests.store_request(connection, origin, asked, self.clock.now(), receiver="here")

    def check(self) -> None:
        """Look at everything."""
        checking = Commitments(
            self.database, self.files, self.clock, "here", self.settings, {CT_STORAGE}
        )
        while checking.work_some():
            pass

    def open(self, title: str, channel: str = "radiology", association: str = "") -> Mailbox:
        """Open an association."""
        return self.requesters.enter(Requester(channel, "INTU_SCP", title), association)

    @property
    def results(self) -> CommitmentResults:
        """Results in the database."""
        return CommitmentResults(self.database, self.clock, self.settings, RetrySettings())

    def here(self) -> TellingHere:
        """Return what tells on these associations."""
        return TellingHere(self.results, self.requesters)

    def far(self, reporters: dict[str, Reporter]) -> TellingFar:
        """Return what tells at these addresses."""
        return TellingFar(self.results, reporters, self.requesters)  # type: ignore[arg-type]

    def rows(self, title: str) -> list[CommitmentRow]:
        """Return the requests of one requester."""
        with self.database.read() as connection:
            return list_commitments(connection, requester=title)


@pytest.fixture
def telling(database: Database, clock: FakeClock, tmp_path: Path) -> Telling:
    """Nothing asked yet."""
    return Telling(database, clock, LocalFileStore(tmp_path))


def take(mailbox: Mailbox, message_id: int = 1) -> int:
    """Do as the thread of an association does; return what the peer is sent, 0 for nothing."""
    report = mailbox.next()
    if report is None:
        return 0
    report.take_data_set("1.2.840.10008.1.2")
    mailbox.sent(message_id)
    return report.event_type_id


def test_silent_requester_delays_nobody(telling: Telling) -> None:
    """Twenty results of a requester that never answers keep no other one waiting."""
    for number in range(20):
        telling.ask("SILENT", number)
    telling.clock.advance(1)
    telling.ask("CT2")
    telling.check()
    silent, other = telling.open("SILENT"), telling.open("CT2")
    here = telling.here()
    assert here.tell_some() == 2
    assert take(silent) == take(other) == 2
    other.answered(1, 0)
    here.tell_some()
    assert [row.state for row in telling.rows("CT2")] == [REPORTED]


def test_silent_requester_is_told_one_result(telling: Telling) -> None:
    """Nothing more is tried on an association that owes an answer; then it goes on."""
    for number in range(3):
        telling.ask("SILENT", number)
    telling.check()
    silent, here = telling.open("SILENT"), telling.here()
    here.tell_some()
    take(silent)
    for _ in range(3):
        telling.clock.advance(TIMEOUT + 1)
        here.tell_some()
    assert sorted(row.attempts for row in telling.rows("SILENT")) == [0, 0, 1]
    silent.answered(1, 0)
    here.tell_some()
    assert sorted(row.state for row in telling.rows("SILENT")) == [CHECKED, CHECKED, REPORTED]
    assert take(silent, 2) == 2


def test_what_cannot_be_sent_counts_as_no_try(telling: Telling) -> None:
    """A requester that sends a large object meanwhile is told later."""
    telling.ask("CT1")
    telling.check()
    busy, here = telling.open("CT1"), telling.here()
    here.tell_some()
    telling.clock.advance(TIMEOUT + 1)
    here.tell_some()
    assert take(busy) == 0
    assert [row.attempts for row in telling.rows("CT1")] == [0]
    telling.clock.advance(60)
    here.tell_some()
    assert take(busy) == 2


def test_result_crosses_no_channel(telling: Telling) -> None:
    """An AE title on an open channel is not told what the same title has asked on another."""
    telling.ask("CT1", channel="secure")
    telling.check()
    stranger, here = telling.open("CT1"), telling.here()
    assert here.tell_some() == 0
    assert take(stranger) == 0
    own = telling.open("CT1", "secure")
    here.tell_some()
    assert take(own) == 2


@dataclass
class Reporter:
    """An address that takes results, or does not answer."""

    is_silent: bool = False
    told: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def report(
        self, ours: str, theirs: str, event_type_id: int, encode: Callable[[str], Any]
    ) -> None:
        """Take a result."""
        self.told.set()
        if self.is_silent:
            self.let_go.wait(60)
            raise TransientError("no answer")


def test_silent_address_delays_nobody(telling: Telling) -> None:
    """A requester whose address does not answer keeps one thread, and others have the rest."""
    for number in range(20):
        telling.ask("SILENT", number)
    telling.clock.advance(1)
    telling.ask("CT2")
    telling.check()
    silent, other = Reporter(is_silent=True), Reporter()
    far = telling.far({"SILENT": silent, "CT2": other})
    waiting = threading.Thread(target=far.tell_some)
    waiting.start()
    assert silent.told.wait(10)
    assert far.tell_some() == 1
    assert other.told.is_set()
    assert far.tell_some() == 0
    silent.let_go.set()
    waiting.join(10)
    assert [row.state for row in telling.rows("CT2")] == [REPORTED]
    assert sorted(row.attempts for row in telling.rows("SILENT"))[-1] == 1


def test_association_comes_next_where_an_address_has_failed(telling: Telling) -> None:
    """The address leaves what failed there to an open association, and goes on once that ends."""
    telling.requesters = OpenRequesters(["CT1"])
    telling.ask("CT1")
    telling.check()
    refusing = Reporter(is_silent=True)
    refusing.let_go.set()
    far, here = telling.far({"CT1": refusing}), telling.here()
    mailbox = telling.open("CT1")
    assert here.tell_some() == 0
    assert far.tell_some() == 1
    telling.clock.advance(60)
    assert far.tell_some() == 0
    telling.requesters.leave(Requester("radiology", "INTU_SCP", "CT1"), mailbox)
    assert far.tell_some() == 1
    telling.clock.advance(60)
    mailbox = telling.open("CT1")
    assert here.tell_some() == 1
    assert take(mailbox) == 2
    mailbox.answered(1, 0)
    here.tell_some()
    assert [row.state for row in telling.rows("CT1")] == [REPORTED]


def test_telling_waits_for_an_answer_without_spinning(telling: Telling) -> None:
    """While an answer is waited for nothing is asked of the database in a circle."""
    telling.ask("CT1")
    telling.check()
    mailbox, here = telling.open("CT1"), telling.here()
    here.tell_some()
    take(mailbox)
    begun = time.monotonic()
    assert here.tell_some() == 1
    assert time.monotonic() - begun > 0.2


@pytest.mark.parametrize("limit", ["_MOST_OPEN", "_MOST_INSTANCES"])
def test_results_on_their_way_are_bounded(
    limit: str, telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many requesters wait, so many results are in hand; the next follow when one is told.

    Instances take memory until their result is sent, an open result until its answer.
    """
    monkeypatch.setattr(app_telling, limit, 1)
    for title in ("CT1", "CT2"):
        telling.ask(title)
        telling.clock.advance(1)
    telling.check()
    first, second, here = telling.open("CT1"), telling.open("CT2"), telling.here()
    here.tell_some()
    assert take(second) == 0
    assert take(first) == 2
    first.answered(1, 0)
    here.tell_some()
    assert take(second) == 2


def test_database_that_was_away_stops_no_telling(
    telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that could not be sent, and not be put back at once, is put back; others go on."""
    telling.ask("BUSY")
    telling.check()
    telling.open("BUSY")
    here = telling.here()
    here.tell_some()
    telling.clock.advance(TIMEOUT + 1)
    with monkeypatch.context() as away:
        away.setattr(table, "put_back", _unavailable)
        with pytest.raises(StoreUnavailable):
            here.tell_some()
    telling.ask("CT2")
    telling.check()
    other = telling.open("CT2")
    here.tell_some()
    assert take(other) == 2
    assert [row.attempts for row in telling.rows("BUSY")] == [0]


def _unavailable(*_: object, **__: object) -> None:
    raise StoreUnavailable("the database is away")


def test_by_a_clock_that_is_off_nothing_is_taken_to_be_told(telling: Telling) -> None:
    """By a clock that is ahead no result is found too old; it is told once the clock is right."""
    telling.ask("CT1")
    telling.check()
    box = telling.open("CT1")
    ahead = FakeClock()
    ahead.advance(1_000_000)
    results = CommitmentResults(telling.database, ahead, telling.settings, RetrySettings())
    TellingHere(results, telling.requesters, lambda: False).tell_some()
    [row] = telling.rows("CT1")
    assert row.state == CHECKED
    telling.here().tell_some()
    assert take(box) != 0
