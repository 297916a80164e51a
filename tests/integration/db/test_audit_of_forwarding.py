"""How many images the audit trail says went to a PACS, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa

from intu_fhir.db import work
from intu_fhir.db.audit import record_and_seal
from intu_fhir.db.deliveries import record_instances, want_delivery
from intu_fhir.db.pruning import Pruner
from intu_fhir.db.session import Database
from intu_fhir.db.tables import audit_events, instances
from intu_fhir.model.audit import Action, AuditEvent
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome, InstanceOutcome, Retry
from intu_fhir.model.work import DELIVER, WAITING, Claim, DeliveryWish
from intu_fhir.pipeline.record import Recorder
from intu_fhir.settings.schema import RetrySettings
from intu_fhir.upkeep.old_rows import AuditRemoval
from tests.support.clock import FakeClock
from tests.support.seeded import stage

IN_STUDY = 5
DONE = Delivered("0000")
CONFIRMED = Delivered("0000", "every instance was confirmed", unchanged=True)
BROKEN = Retry("no answer", "connection lost")


@dataclass
class Archive:
    """A PACS that a study of five images is forwarded to."""

    database: Database
    clock: FakeClock
    study_key: int
    recorder: Recorder = field(default_factory=lambda: Recorder(RetrySettings(), archives={"pacs"}))

    def claim(self) -> Claim:
        """Ask for the study again, some time later, and take it."""
        self.clock.advance(3_600)
        with self.database.write() as connection:
            wish = DeliveryWish(WAITING, again=True)
            now = self.clock.now()
            want_delivery(connection, self.study_key, "pacs", 1, wish=wish, now=now)
            claim = work.claim(
                connection, DELIVER, "pacs", holder="w", now=now, lease_seconds=60, limit=None
            )
        assert claim is not None
        return claim

    def confirm(self, claim: Claim, *numbers: int) -> None:
        """Take images of the study, as the ledger of a worker notes it."""
        self.clock.advance(1)
        with self.database.write() as connection:
            keys = connection.execute(
                sa.select(instances.c.instance_key).order_by(instances.c.instance_key)
            ).scalars()
            taken = {
                key: InstanceOutcome(str(key), "0000", delivered=True)
                for number, key in enumerate(keys)
                if number in numbers
            }
            record_instances(connection, claim, taken, self.clock.now())

    def end(self, claim: Claim, outcome: DeliveryOutcome) -> None:
        """Record what came of a try."""
        self.clock.advance(1)
        with self.database.write() as connection:
            now = self.clock.now()
            self.recorder.record(connection, claim, outcome, now, now, 1.0)

    def deliver(self, outcome: DeliveryOutcome, *numbers: int) -> None:
        """Try once."""
        claim = self.claim()
        self.confirm(claim, *numbers)
        self.end(claim, outcome)

    def told(self) -> list[tuple[str, int]]:
        """Return outcome and number of objects of each event."""
        c = audit_events.c
        with self.database.read() as connection:
            found = sa.select(c.outcome, c.objects).order_by(c.audit_event_key)
            return [(row.outcome, row.objects) for row in connection.execute(found)]


@pytest.fixture
def archive(database: Database, clock: FakeClock) -> Archive:
    """A study that nothing has been sent of."""
    with database.write() as connection:
        study_key = stage(connection, "one", at=clock.now(), instances=IN_STUDY)
    return Archive(database, clock, study_key)


def test_a_late_image_is_one_object(archive: Archive) -> None:
    """An image that comes after the others is told of as one, not as the whole study again."""
    archive.deliver(DONE, 0, 1, 2, 3)
    archive.deliver(DONE, 4)
    assert archive.told() == [("success", 4), ("success", 1)]


def test_a_dead_letter_counts_what_was_taken(archive: Archive) -> None:
    """A study that a PACS refuses is told of with what it took of it, be it nothing."""
    refused = Dead("C000", "not taken")
    archive.deliver(refused)
    archive.deliver(refused, 0, 1)
    archive.deliver(DONE, 2, 3, 4)
    assert archive.told() == [("serious", 0), ("serious", 2), ("success", 3)]


def test_what_several_tries_brought_is_counted_together(archive: Archive) -> None:
    """A try that broke off is no event; what it brought counts in the event of the one after."""
    archive.deliver(BROKEN, 0, 1, 2)
    assert archive.told() == []
    archive.deliver(DONE, 3, 4)
    assert archive.told() == [("success", IN_STUDY)]


def test_what_a_dead_worker_sent_is_told_of(archive: Archive) -> None:
    """Whoever finds that a dead worker has sent everything tells of it; a look later, nothing."""
    archive.confirm(archive.claim(), 0, 1, 2, 3, 4)
    archive.end(archive.claim(), CONFIRMED)
    archive.end(archive.claim(), CONFIRMED)
    assert archive.told() == [("success", IN_STUDY)]


def test_what_is_sent_anew_counts_anew(archive: Archive) -> None:
    """An image that goes once more, since the PACS did not keep it, is an object once more."""
    archive.deliver(DONE, 0, 1, 2, 3, 4)
    archive.deliver(DONE, 1)
    assert archive.told() == [("success", IN_STUDY), ("success", 1)]


def test_a_clock_set_back_hides_nothing(archive: Archive) -> None:
    """A late image is one object, too, where the clock says that it came before the others."""
    archive.deliver(DONE, 0, 1, 2, 3)
    archive.clock.step_wall(-86_400)
    archive.deliver(DONE, 4)
    assert archive.told() == [("success", 4), ("success", 1)]


def test_what_an_old_trail_told_of_is_not_told_again(archive: Archive) -> None:
    """Where the events of before were removed, a late image is one object nevertheless."""
    archive.deliver(DONE, 0, 1, 2, 3)
    archive.clock.advance(10 * 86_400)
    record_and_seal(archive.database, AuditEvent(Action.STARTED, archive.clock.now(), "worker"))
    removal = AuditRemoval(archive.database, archive.clock, Pruner("test"))
    assert removal.remove_some(archive.clock.now()).events == 1
    archive.deliver(DONE, 4)
    assert archive.told()[-1] == ("success", 1)
    archive.deliver(DONE, 2)
    assert archive.told()[-1] == ("success", 1)


def test_what_nobody_was_told_of_keeps_the_trail(archive: Archive) -> None:
    """Images that a worker sent before it died are told of, however old the events before are."""
    archive.deliver(DONE, 0)
    archive.confirm(archive.claim(), 1, 2)
    archive.clock.advance(10 * 86_400)
    record_and_seal(archive.database, AuditEvent(Action.STARTED, archive.clock.now(), "worker"))
    removal = AuditRemoval(archive.database, archive.clock, Pruner("test"))
    assert removal.remove_some(archive.clock.now()).events == 0
    archive.deliver(DONE, 3, 4)
    assert archive.told()[-1] == ("success", 4)
