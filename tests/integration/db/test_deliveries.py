"""What a delivery's row says of the version that is at its destination."""

from __future__ import annotations

import sqlalchemy as sa

from intu_fhir.db import work
from intu_fhir.db.companions import record_study_place
from intu_fhir.db.deliveries import Known, known_at, record_attempt, want_delivery
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries
from intu_fhir.model.outcome import Attempt, Delivered
from intu_fhir.model.work import DELIVER, WAITING, Claim, DeliveryWish
from tests.support.clock import FakeClock
from tests.support.seeded import stage

REMARK = "sent without the list of its 6000 instances, for their number"
SENT = Delivered("201", warning=REMARK, server_id="7", version="1", content_hash="a")


def _claim(database: Database, clock: FakeClock) -> Claim:
    with database.write() as connection:
        key = stage(connection, "one", at=clock.now())
        want_delivery(connection, key, "ehr", 1, wish=DeliveryWish(WAITING), now=clock.now())
        claim = work.claim(
            connection, DELIVER, "ehr", holder="w", now=clock.now(), lease_seconds=60, limit=None
        )
    assert claim is not None
    return claim


def _record(database: Database, clock: FakeClock, claim: Claim, outcome: Delivered) -> str:
    with database.write() as connection:
        record_attempt(connection, claim, Attempt(clock.now(), clock.now(), outcome))
        return str(connection.execute(sa.select(deliveries.c.warning)).scalar_one())


def test_a_remark_stays_where_nothing_is_sent(database: Database, clock: FakeClock) -> None:
    """What was remarked on a version holds until another one is sent."""
    claim = _claim(database, clock)
    same = Delivered(server_id="7", version="1", content_hash="a", unchanged=True)
    newer = Delivered("200", server_id="7", version="2", content_hash="b")
    said = [_record(database, clock, claim, outcome) for outcome in (SENT, same, newer, same)]
    assert said == [REMARK, REMARK, "", ""]


def test_a_remark_on_a_study_is_kept_before_the_rest_follows(
    database: Database, clock: FakeClock
) -> None:
    """It is on disk with the study's place; the same content takes it over, another replaces it."""
    claim = _claim(database, clock)
    said = []
    for at in (
        Known("7", "1", "a", REMARK),
        Known("7", "1", "a", ""),
        Known("7", "2", "b", ""),
    ):
        with database.write() as connection:
            record_study_place(connection, claim, at)
            said.append(known_at(connection, claim.key).warning)
    assert said == [REMARK, REMARK, ""]


def test_who_lost_a_study_does_not_say_where_it_is(database: Database, clock: FakeClock) -> None:
    """The place that a worker of before notes late is not written over what the next one knows."""
    late = _claim(database, clock)
    clock.advance(61)
    with database.write() as connection:
        newer = work.claim(
            connection, DELIVER, "ehr", holder="n", now=clock.now(), lease_seconds=60, limit=None
        )
    assert newer is not None
    for claim, version in ((newer, "2"), (late, "1")):
        with database.write() as connection:
            record_study_place(connection, claim, Known("7", version, version, ""))
    with database.read() as connection:
        assert known_at(connection, late.key).server_version == "2"
