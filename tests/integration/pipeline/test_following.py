"""Destinations that come after others, on SQLite and PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa

from intu_fhir.cli.deliveries import why_column
from intu_fhir.db.deliveries import want_delivery
from intu_fhir.db.delivery_report import DeliveryFilter, DeliveryRow, list_deliveries
from intu_fhir.db.following import let_all_go
from intu_fhir.db.gates import read_gate
from intu_fhir.db.session import Database
from intu_fhir.db.tables import deliveries, studies
from intu_fhir.deliver.following import AfterOthers
from intu_fhir.model.destination import HALF_OPEN, OPEN, Gate
from intu_fhir.model.outcome import Dead, Delivered, DeliveryOutcome, Retry
from intu_fhir.model.work import DELIVER, FILTERED, WAITING, Claim, DeliveryWish
from intu_fhir.pipeline.breaker import Breakers
from intu_fhir.pipeline.record import Recorder
from intu_fhir.pipeline.runner import Lane, Runner
from intu_fhir.settings.schema import BreakerSettings, FhirDestination, RetrySettings
from tests.support.clock import FakeClock
from tests.support.staging import header, new_instance, store

EHR = FhirDestination(
    type="fhir", base_url="http://127.0.0.1:9", breaker=BreakerSettings(failures=1)
)
RETRY = RetrySettings(first_seconds=10, max_seconds=100, max_attempts=3)


@dataclass
class Route:
    """A PACS, and an EHR that comes after it."""

    database: Database
    clock: FakeClock
    pacs: DeliveryOutcome = field(default_factory=lambda: Delivered("0000"))
    ehr: DeliveryOutcome = field(default_factory=lambda: Delivered("201"))
    announced: DeliveryOutcome | None = None
    published: list[int] = field(default_factory=list)

    def _publish(self, claim: Claim) -> DeliveryOutcome:
        self.published.append(claim.want)
        return self.ehr

    def _announce(self, claim: Claim) -> DeliveryOutcome | None:
        return self.announced

    def gate(self) -> Gate:
        """Return what keeps the EHR's studies back."""
        with self.database.read() as connection:
            return read_gate(connection, "ehr")

    def runner(self) -> Runner:
        """Return a worker of both."""
        after = AfterOthers(self.database, ("pacs",), self._publish, self._announce)
        return Runner(
            database=self.database,
            clock=self.clock,
            functions={(DELIVER, "pacs"): lambda claim: self.pacs, (DELIVER, "ehr"): after},
            recorder=Recorder(RETRY, breakers=Breakers({"ehr": EHR})),
            retry=RETRY,
            holder="w",
            lease_seconds=60,
            chance=lambda: 1.0,
        )

    def run(self, destination: str) -> bool:
        """Do what is due at a destination."""
        return self.runner().run_one(Lane(DELIVER, destination))

    def want(self, generation: int, *destinations: str, wish: DeliveryWish | None = None) -> None:
        """Ask for a generation."""
        with self.database.write() as connection:
            key = connection.execute(sa.select(studies.c.study_key)).scalar_one()
            for name in destinations or ("ehr", "pacs"):
                want_delivery(
                    connection,
                    key,
                    name,
                    generation,
                    wish=wish or DeliveryWish(WAITING),
                    now=self.clock.now(),
                )

    def row(self, destination: str) -> DeliveryRow:
        """Return how a destination is doing."""
        with self.database.read() as connection:
            [row] = list_deliveries(connection, DeliveryFilter(destination=destination))
        return row


@pytest.fixture
def route(database: Database, clock: FakeClock) -> Route:
    """A study that both want."""
    store(database, new_instance(clock.now(), header(), quiet_seconds=0))
    route = Route(database, clock)
    route.want(1)
    return route


def test_the_second_waits_for_the_first(route: Route) -> None:
    """The EHR gets nothing until the PACS has it, is not looked at meanwhile, and then at once."""
    assert route.run("ehr")
    assert not route.run("ehr")
    assert route.row("ehr").due_at is None
    assert why_column({}).value(route.row("ehr")) == "waits for pacs, which is waiting"
    assert route.published == []
    assert route.run("pacs")
    assert route.run("ehr")
    assert route.published == [1]
    assert (route.row("ehr").state, route.row("ehr").follows) == ("delivered", "")


def test_the_first_was_there_before(route: Route) -> None:
    """Where the PACS has the study already, nobody waits."""
    route.run("pacs")
    route.run("ehr")
    assert route.published == [1]


def test_every_generation_is_waited_for(route: Route) -> None:
    """What the PACS lacks of a later generation is waited for again."""
    route.run("pacs")
    route.run("ehr")
    route.want(2)
    route.run("ehr")
    assert route.published == [1]
    route.run("pacs")
    route.run("ehr")
    assert route.published == [1, 2]


def test_late_images_while_it_waits(route: Route) -> None:
    """A newer wish neither gets lost nor goes before the PACS has it."""
    route.run("ehr")
    route.want(2)
    route.run("ehr")
    assert (route.row("ehr").due_at, route.row("ehr").want) == (None, 2)
    route.run("pacs")
    route.run("ehr")
    assert route.published == [2]


def test_a_dead_letter_of_the_first_is_the_cause(route: Route) -> None:
    """Who looks at the EHR sees what went wrong at the PACS, and mending that is enough."""
    route.pacs = Dead("C000", "the PACS cannot read it")
    route.run("ehr")
    route.run("pacs")
    assert why_column({}).value(route.row("ehr")) == (
        "waits for pacs, which is dead: the PACS cannot read it"
    )
    route.pacs = Delivered("0000")
    with route.database.write() as connection:
        connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.destination == "pacs")
            .values(state=WAITING, due_at=route.clock.now())
        )
    route.run("pacs")
    route.run("ehr")
    assert route.published == [1]


def test_a_retry_of_the_first_lets_nobody_go(route: Route) -> None:
    """Only success ends the waiting."""
    route.pacs = Retry("A700", "full")
    route.run("ehr")
    route.run("pacs")
    assert not route.run("ehr")
    assert route.published == []


def test_nobody_asked_the_first(route: Route) -> None:
    """Where the PACS was never asked for the study, that is what one sees."""
    with route.database.write() as connection:
        connection.execute(sa.delete(deliveries).where(deliveries.c.destination == "pacs"))
    route.run("ehr")
    assert "never asked for" in str(why_column({}).value(route.row("ehr")))


def test_a_start_lets_everybody_look_again(route: Route) -> None:
    """After a start with another configuration nobody waits for what no longer counts."""
    route.run("ehr")
    with route.database.write() as connection:
        assert let_all_go(connection, now=route.clock.now()) == 1
    assert route.row("ehr").due_at is not None


def test_left_out_with_its_reason(route: Route) -> None:
    """A study that a destination does not get is filtered, and says why."""
    route.want(2, "pacs", wish=DeliveryWish(FILTERED, reason="only.modalities wants MR"))
    row = route.row("pacs")
    assert (row.state, row.due_at) == (FILTERED, None)
    assert why_column({}).value(row) == "only.modalities wants MR"
    route.want(3, "pacs")
    assert (route.row("pacs").state, route.row("pacs").reason) == (WAITING, "")


def test_waiting_and_finishing_never_miss_each_other(route: Route) -> None:
    """Whatever runs first, side by side, the EHR gets every generation in the end."""

    def look(destination: str) -> Any:
        return route.run(destination)

    with ThreadPoolExecutor(2) as pool:
        for generation in range(2, 22):
            route.want(generation)
            list(pool.map(look, ["ehr", "pacs"]))
            for _ in range(3):
                route.run("pacs")
                route.run("ehr")
            assert route.row("ehr").have == generation


def _down(route: Route) -> None:
    """Let the EHR be silent once, then the PACS lack a newer generation when the probe is due."""
    route.ehr = Retry(detail="no connection", silent=True)
    route.run("pacs")
    route.run("ehr")
    assert route.gate().state.breaker == OPEN
    route.want(2)
    route.clock.advance(30)


def test_a_probe_that_follows_another_leaves_its_place(route: Route) -> None:
    """A study that waits for the PACS asks nobody at the EHR: the next one may probe at once."""
    _down(route)
    probes = route.gate().state.probes
    assert route.run("ehr")
    state = route.gate().state
    assert (state.breaker, state.next_probe_at, state.probes) == (OPEN, route.clock.now(), probes)


def test_a_probe_that_announces_tells_that_the_ehr_answers(route: Route) -> None:
    """What the EHR says to an announcement counts for its breaker."""
    _down(route)
    route.announced = Delivered("201")
    route.run("ehr")
    assert route.gate().state.breaker == HALF_OPEN
