"""Storage commitment of a running site, asked for by pynetdicom (PS3.4 annex J)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from pydicom.uid import CTImageStorage
from pynetdicom import AE, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel

from intu_fhir.app.serving import ALL_ROLES, RECEIVE, WORK, Site
from intu_fhir.app.wiring import open_app
from intu_fhir.cli.main import run
from intu_fhir.db.commitment_report import list_items
from intu_fhir.db.tables import instances, storage_commitment_items, storage_commitments
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.archive_commitment import CommitmentAnswer
from intu_fhir.model.commitment import REPORTED, UNREPORTED
from intu_fhir.settings.load import load_configuration
from intu_fhir.stage.handover import HandOver
from tests.support.ports import free_port
from tests.support.requester import Requester
from tests.support.site_folder import write_site
from tests.support.waiting import wait_until

MR = "1.2.840.10008.5.1.4.1.1.4"


@dataclass
class Running:
    """Sites that the test starts and stops."""

    folder: Path
    sites: list[Site] = field(default_factory=list)

    def start(self, roles: Any = ALL_ROLES) -> Site:
        """Start a site."""
        site = Site(open_app(load_configuration(self.folder)), roles)
        site.start()
        self.sites.append(site)
        return site

    def stop(self, site: Site) -> None:
        """Stop a site."""
        self.sites.remove(site)
        site.stop()


@dataclass
class Setting:
    """A site's folder with a modality in front of it."""

    running: Running
    requester: Requester
    results_port: int

    def rows(self, *columns: Any) -> list[Any]:
        """Return what staging says."""
        with self.running.sites[0].app.database.read() as connection:
            return list(connection.execute(sa.select(*columns)).all())

    def results(self) -> dict[str, str]:
        """Return the result of each instance by UID."""
        items = storage_commitment_items.c
        return dict(self.rows(items.sop_instance_uid, items.result))

    def leave_waiting(self, transaction: str) -> str:
        """Ask a site that only receives, which stops then; return the instance asked for."""
        site = self.running.start({RECEIVE})
        (stored,) = self.requester.store(1)
        association = self.requester.associate()
        assert self.requester.ask(association, transaction, (CTImageStorage, stored)) == 0x0000
        association.release()
        self.running.stop(site)
        return stored

    def wait_until_told(self) -> None:
        """Wait until the site has the requester's answer to each result.

        Who releases with an answer on its way breaks pynetdicom's state machine, in a thread of
        its own.
        """
        states = storage_commitments.c.state
        wait_until(lambda: {state for (state,) in self.rows(states)} == {REPORTED})


Make = Callable[..., Setting]


@pytest.fixture
def make(tmp_path: Path, migrated_database_url: str) -> Iterator[Make]:
    """Make a site; with ``address`` the results go to an address of the modality."""
    made: list[Setting] = []

    def write(*, address: bool = False, **commitment: Any) -> Setting:
        port, results = free_port(), free_port()
        if address:
            commitment["requesters"] = {"CT1": {"host": "127.0.0.1", "port": results}}
        write_site(
            tmp_path,
            database=migrated_database_url,
            port=port,
            receiver={"storage_commitment": {"timeout_seconds": 5, **commitment}},
            retry={"first_seconds": 0.2, "max_seconds": 0.2, "max_attempts": 4},
        )
        made.append(Setting(Running(tmp_path), Requester(port), results))
        return made[-1]

    yield write
    for setting in made:
        setting.requester.stop()
        for site in list(setting.running.sites):
            setting.running.stop(site)


def uids(sequence: Any) -> list[str]:
    """Return the instances of a sequence."""
    return [str(item.ReferencedSOPInstanceUID) for item in sequence]


def test_result_comes_on_the_same_association(make: Make) -> None:
    """Without an address the result is told while the association is open: all committed."""
    setting = make()
    setting.running.start()
    requester = setting.requester
    stored = requester.store(1, 2)
    association = requester.associate()
    asked = [(CTImageStorage, one) for one in stored]
    assert requester.ask(association, "1.2.3.1", *asked) == 0x0000
    setting.wait_until_told()
    association.release()
    ((kind, information),) = requester.results
    assert kind == 1
    assert information.TransactionUID == "1.2.3.1"
    assert uids(information.ReferencedSOPSequence) == stored
    assert "FailedSOPSequence" not in information
    wait_until(lambda: setting.rows(storage_commitments.c.state) == [(REPORTED,)])


def test_result_goes_to_the_address_of_the_requester(make: Make) -> None:
    """With an address the result comes on a new association, where we are the provider."""
    setting = make(address=True)
    setting.running.start()
    requester = setting.requester
    requester.listen(setting.results_port)
    (stored,) = requester.store(1)
    association = requester.associate()
    assert requester.ask(association, "1.2.3.2", (CTImageStorage, stored)) == 0x0000
    association.release()
    wait_until(lambda: requester.results)
    assert [kind for kind, _ in requester.results] == [1]
    assert requester.roles == [(True, False)]


def test_each_failure_has_its_reason(make: Make) -> None:
    """What is missing, of another class, unknown or damaged fails alone, each as PS3.3 says."""
    setting = make()
    site = setting.running.start()
    requester = setting.requester
    good, other_class, cut, flipped, gone = requester.store(1, 2, 3, 4, 5)
    paths = {
        one: site.app.files.path(name)
        for one, name in setting.rows(instances.c.sop_instance_uid, instances.c.file)
    }
    paths[cut].write_bytes(paths[cut].read_bytes()[:-1])
    damaged = bytearray(paths[flipped].read_bytes())
    damaged[-1] ^= 1
    paths[flipped].write_bytes(damaged)
    paths[gone].unlink()
    asked = [(CTImageStorage, one) for one in (good, cut, flipped, gone, "1.2.3.99")]
    asked += [(MR, other_class), ("1.2.3.4.5", "1.2.3.100")]
    association = requester.associate()
    assert requester.ask(association, "1.2.3.3", *asked) == 0x0000
    setting.wait_until_told()
    association.release()
    ((kind, information),) = requester.results
    assert kind == 2
    assert uids(information.ReferencedSOPSequence) == [good]
    reasons = {
        str(item.ReferencedSOPInstanceUID): item.FailureReason
        for item in information.FailedSOPSequence
    }
    assert reasons == {
        cut: 0x0110,
        flipped: 0x0110,
        gone: 0x0110,
        "1.2.3.99": 0x0112,
        other_class: 0x0119,
        "1.2.3.100": 0x0122,
    }


def test_transaction_that_was_used_is_a_duplicate(make: Make) -> None:
    """A Transaction UID that its requester has used for others commits nothing the second time."""
    setting = make()
    setting.running.start()
    requester = setting.requester
    (stored,) = requester.store(1)
    association = requester.associate()
    for asked in ([stored], [stored, "1.2.3.99"]):
        items = [(CTImageStorage, one) for one in asked]
        assert requester.ask(association, "1.2.3.4", *items) == 0x0000
    setting.wait_until_told()
    association.release()
    (first, _), (second, information) = sorted(requester.results, key=lambda one: one[0])
    assert (first, second) == (1, 2)
    assert [item.FailureReason for item in information.FailedSOPSequence] == [0x0131] * 2


def test_requester_that_is_away_is_told_later(make: Make) -> None:
    """Nobody listens at first: the result is tried again until it is taken."""
    setting = make(address=True)
    setting.running.start()
    requester = setting.requester
    (stored,) = requester.store(1)
    association = requester.associate()
    assert requester.ask(association, "1.2.3.5", (CTImageStorage, stored)) == 0x0000
    association.release()
    attempts = storage_commitments.c.attempts
    wait_until(lambda: setting.rows(attempts) >= [(1,)])
    requester.listen(setting.results_port)
    wait_until(lambda: requester.results)
    wait_until(lambda: setting.rows(storage_commitments.c.state) == [(REPORTED,)])


def test_requester_that_never_takes_it_is_given_up(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the last try the request is unreported, with the reason, for a person to see."""
    setting = make(address=True)
    setting.running.start()
    requester = setting.requester
    requester.status = 0x0110
    requester.listen(setting.results_port)
    (stored,) = requester.store(1)
    association = requester.associate()
    assert requester.ask(association, "1.2.3.6", (CTImageStorage, stored)) == 0x0000
    association.release()
    wait_until(lambda: setting.rows(storage_commitments.c.state) == [(UNREPORTED,)])
    assert len(requester.results) == 4
    folder = str(setting.running.folder)
    assert run(["commitments", "list", "--state", "unreported", "--config", folder]) == 0
    out = capsys.readouterr().out
    assert "1.2.3.6" in out
    assert "it answers 0110" in out
    assert run(["commitments", "show", "1.2.3.6", "--config", folder]) == 0
    assert "committed" in capsys.readouterr().out
    assert run(["commitments", "retry", "--config", folder]) != 0
    assert run(["commitments", "retry", "1.2.3.7", "--config", folder]) == 0
    assert "None" in capsys.readouterr().out
    requester.status = 0x0000
    assert run(["commitments", "retry", "1.2.3.6", "--config", folder]) == 0
    wait_until(lambda: setting.rows(storage_commitments.c.state) == [(REPORTED,)])
    assert len(requester.results) == 5


def test_restart_loses_no_request(make: Make) -> None:
    """What was asked before a restart is checked and told after it, on a later association."""
    setting = make()
    stored = setting.leave_waiting("1.2.3.7")
    requester = setting.requester
    worker = setting.running.start({WORK})
    wait_until(lambda: setting.results() == {stored: "committed"})
    setting.running.stop(worker)
    setting.running.start()
    assert requester.results == []
    association = requester.associate()
    setting.wait_until_told()
    association.release()
    assert requester.results[0][1].TransactionUID == "1.2.3.7"


def test_request_is_durable_before_its_answer(make: Make) -> None:
    """As soon as 0000 is answered the request is in the database, with all its instances."""
    setting = make()
    site = setting.running.start({RECEIVE})
    requester = setting.requester
    association = requester.associate()
    asked = [(CTImageStorage, f"1.2.3.{number}") for number in range(2_500)]
    assert requester.ask(association, "1.2.3.8", *asked) == 0x0000
    with site.app.database.read() as connection:
        assert len(list_items(connection, "1.2.3.8")) == 2_500
    assert setting.results() == {}
    association.abort()
    setting.running.stop(site)
    setting.running.start({WORK})
    wait_until(lambda: set(setting.results().values()) == {"0112"})
    assert len(setting.results()) == 2_500


def test_many_instances_are_checked_piece_by_piece(make: Make) -> None:
    """A request of more instances than one turn of work takes is told as a whole."""
    setting = make()
    setting.running.start()
    requester = setting.requester
    (stored,) = requester.store(1)
    asked = [(CTImageStorage, f"1.2.3.{number}") for number in range(250)]
    association = requester.associate()
    assert requester.ask(association, "1.2.3.9", *asked, (CTImageStorage, stored)) == 0x0000
    setting.wait_until_told()
    association.release()
    ((_, information),) = requester.results
    assert len(information.FailedSOPSequence) == 250
    assert uids(information.ReferencedSOPSequence) == [stored]


def test_too_much_is_refused_for_lack_of_resources(make: Make) -> None:
    """Too many instances, or too many requests that wait, are answered 0213."""
    setting = make(max_instances=3, max_waiting=1)
    setting.running.start({RECEIVE})
    requester = setting.requester
    association = requester.associate()
    four = [(CTImageStorage, f"1.2.3.{number}") for number in range(4)]
    assert requester.ask(association, "1.2.3.10", *four) == 0x0213
    assert requester.ask(association, "1.2.3.11", *four[:3]) == 0x0000
    assert requester.ask(association, "1.2.3.12", *four[:3]) == 0x0213
    association.abort()


def test_two_workers_check_a_request_once(make: Make) -> None:
    """Several workers on one database tell a result once."""
    setting = make(address=True)
    for roles in (ALL_ROLES, {WORK}, {WORK}):
        setting.running.start(roles)
    requester = setting.requester
    requester.listen(setting.results_port)
    (stored,) = requester.store(1)
    association = requester.associate()
    for number in range(20, 30):
        asked = (CTImageStorage, stored)
        assert requester.ask(association, f"1.2.3.{number}", asked) == 0x0000
    association.release()
    setting.wait_until_told()
    threading.Event().wait(0.5)
    assert len(requester.results) == 10


def test_address_that_fails_is_not_the_only_way(make: Make) -> None:
    """A requester whose address takes nothing is told on an association that it opens itself."""
    setting = make(address=True)
    setting.running.start()
    requester = setting.requester
    (stored,) = requester.store(1)
    association = requester.associate()
    assert requester.ask(association, "1.2.3.40", (CTImageStorage, stored)) == 0x0000
    setting.wait_until_told()
    association.release()
    assert requester.results[0][1].TransactionUID == "1.2.3.40"
    wait_until(lambda: setting.rows(storage_commitments.c.state) == [(REPORTED,)])
    assert setting.rows(storage_commitments.c.attempts) >= [(1,)]


def test_status_on_the_same_association_counts(make: Make) -> None:
    """A result that is answered with a failure on the requester's association is not taken."""
    setting = make()
    setting.running.start()
    requester = setting.requester
    requester.status = 0x0110
    (stored,) = requester.store(1)
    association = requester.associate()
    assert requester.ask(association, "1.2.3.41", (CTImageStorage, stored)) == 0x0000
    wait_until(lambda: setting.rows(storage_commitments.c.state) == [(UNREPORTED,)])
    association.release()
    assert len(requester.results) == 4
    assert setting.rows(storage_commitments.c.last_error) == [("the requester answers 0110",)]


def test_service_can_be_switched_off(make: Make) -> None:
    """Where it is not offered, its presentation context is refused and storage goes on."""
    setting = make(enabled=False)
    setting.running.start()
    association = setting.requester.associate()
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    association.release()
    assert accepted == {CTImageStorage}


def test_what_was_asked_before_it_was_switched_off_comes_to_its_end(make: Make) -> None:
    """A request that waits is still looked at and told: else its study could never be pruned."""
    setting = make(address=True)
    setting.leave_waiting("1.2.3.51")
    requester = setting.requester
    file = setting.running.folder / "intu.yaml"
    settings = yaml.safe_load(file.read_text())
    settings["receiver"]["storage_commitment"]["enabled"] = False
    file.write_text(yaml.safe_dump(settings))
    requester.listen(setting.results_port)
    setting.running.start()
    wait_until(lambda: setting.rows(storage_commitments.c.state) == [(REPORTED,)])


def test_role_selection_of_the_requester_is_answered(make: Make) -> None:
    """A requester that proposes to be SCU is told that it is, and not SCP."""
    setting = make()
    setting.running.start({RECEIVE})
    ae = AE("CT1")
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    association = ae.associate(
        "127.0.0.1", setting.requester.port, ae_title="INTU_TEST", ext_neg=[role]
    )
    (context,) = association.accepted_contexts
    assert (context.as_scu, context.as_scp) == (True, False)
    association.release()


def test_database_that_hangs_holds_no_association(make: Make) -> None:
    """Requests, and answers to ours, are handed over: who sent them is answered in time."""
    setting = make()
    go_on = threading.Event()
    hanging = HandOver(lambda _: bool(go_on.wait(60)), "hangs", wait_seconds=0.5)
    app = open_app(load_configuration(setting.running.folder))
    vars(app).update(requests=hanging, answers=hanging)
    hanging.start = lambda: None  # type: ignore[method-assign]  # it is started once, below
    HandOver.start(hanging)
    site = Site(app, {RECEIVE})
    site.start()
    setting.running.sites.append(site)
    association = setting.requester.associate()
    assert setting.requester.ask(association, "1.2.3.50", (CTImageStorage, "1.2.3")) == 0x0213
    association.release()
    with pytest.raises(StoreUnavailable):
        site.hear(CommitmentAnswer("PACS", "INTU_SCU", "1.2.840.10008.1.2", bytes))
    go_on.set()
