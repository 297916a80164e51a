"""Looking whether what was asked for is really there, on both databases."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from intu_fhir.app.committing import CommitmentResults
from intu_fhir.db import commitment_requests as requests
from intu_fhir.db import commitments as table
from intu_fhir.db.commitment_report import list_commitments, list_items
from intu_fhir.db.commitment_upkeep import tell_again
from intu_fhir.db.commitments import Due
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, storage_commitment_items, storage_commitments
from intu_fhir.errors import LimitPassed, NotHereYet, StaleClaim, StoreUnavailable, UnknownKey
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.commitment import (
    ASKED,
    CHECKED,
    RECEIVED,
    UNREPORTED,
    CommitmentAsked,
    CommitmentClaim,
    CommitmentRequest,
    ReferencedInstance,
    Requester,
)
from intu_fhir.model.instance import Origin
from intu_fhir.settings.schema import RetrySettings, StorageCommitment
from intu_fhir.stage.commitment_answer import encode_action_information
from intu_fhir.stage.commitments import Commitments
from intu_fhir.upkeep.commitments import CommitmentUpkeep
from tests.support.clock import FakeClock
from tests.support.plans import plan_of, statements_of
from tests.support.staging import CT_STORAGE, header, new_instance, origin, store

IMPLICIT = "1.2.840.10008.1.2"


class Short(LocalFileStore):
    """A store that cannot open anything right now."""

    why = errno.EMFILE

    def blocks(self, name: str) -> Iterator[bytes]:
        """Fail as the system does when it lacks something."""
        raise StoreUnavailable("no") from OSError(self.why, os.strerror(self.why))


def ask(
    database: Database,
    clock: FakeClock,
    *uids: str,
    transaction: str = "1.2.3",
    by: Origin | None = None,
    sop_class: str = CT_STORAGE,
) -> None:
    """Store a request."""
    asked = CommitmentAsked(transaction, tuple(ReferencedInstance(sop_class, u) for u in uids))
    with database.write() as connection:
        requests.store_request(
            connection, by or origin("asking"), asked, clock.now(), receiver="here"
        )


def by(title: str, association: str = "", channel: str = "radiology", address: str = "") -> Origin:
    """Return an association of some requester."""
    return Origin(
        association or f"by {title}",
        channel,
        calling_ae_title=title,
        called_ae_title="INTU_SCP",
        peer_address=address,
    )


def results(database: Database) -> list[str]:
    """Return the results so far, in the order they were asked for."""
    column = storage_commitment_items.c
    with database.read() as connection:
        found = sa.select(column.result).order_by(column.commitment_key, column.number)
        return list(connection.execute(found).scalars())


def commitments(
    database: Database, files: LocalFileStore, clock: FakeClock, **limits: int
) -> Commitments:
    """Return what takes and checks."""
    settings = StorageCommitment().model_copy(update=limits)
    return Commitments(database, files, clock, "here", settings, {CT_STORAGE})


def stage_file(database: Database, clock: FakeClock, files: LocalFileStore, data: bytes) -> str:
    """Store an instance with its file; return the name of the file."""
    one = header()
    head = part10_head(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid)
    name = f"instances/{one.sop_instance_uid}.dcm"
    (files.root / "instances").mkdir(parents=True, exist_ok=True)
    (files.root / name).write_bytes(head + data)
    row = new_instance(clock.now(), one, sha256=hashlib.sha256(data).hexdigest())
    store(database, replace(row, file=name, data_set_offset=len(head)))
    return name


def uid_of(name: str) -> str:
    """Return the instance of a file of ``stage_file``."""
    return Path(name).stem


def check_all(checking: Commitments) -> None:
    """List and look at all there is."""
    while checking.work_some():
        pass


@pytest.mark.parametrize("why", [errno.EMFILE, errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_shortage_of_the_system_is_no_damage(
    why: int, database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Too many open files is told as lack of resources, so that the requester asks again.

    So is a disk that has no room for the copy of what an object store has.
    """
    one = header()
    store(database, new_instance(clock.now(), one))
    ask(database, clock, one.sop_instance_uid)
    files = Short(tmp_path)
    files.why = why
    check_all(commitments(database, files, clock))
    assert results(database) == ["0213"]


def finish(database: Database, held: CommitmentClaim, result: str, clock: FakeClock) -> None:
    """Store the result of the only instance of a request."""
    with database.write() as connection:
        table.store_results(connection, held, [(1, result)])
        table.checked(connection, held, clock.now(), clock.now())


def take(
    database: Database, clock: FakeClock, due: Due, lease_seconds: float = 60
) -> CommitmentClaim | None:
    """Claim what is due."""
    with database.write() as connection:
        return table.claim(connection, due, clock.now(), lease_seconds=lease_seconds)


def test_claim_that_ran_out_writes_nothing(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """A worker that was too slow changes nothing; the request goes to another one meanwhile."""
    ask(database, clock, "1.2.3.1")
    commitments(database, LocalFileStore(tmp_path), clock).list_some()
    slow = take(database, clock, Due(ASKED))
    assert take(database, clock, Due(ASKED)) is None
    clock.advance(61)
    quick = take(database, clock, Due(ASKED))
    assert slow is not None
    assert quick is not None
    with pytest.raises(StaleClaim):
        finish(database, slow, "committed", clock)
    assert results(database) == [""]
    finish(database, quick, "0112", clock)
    assert results(database) == ["0112"]


def test_only_named_requesters_are_claimed(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """A result goes to who asked: this AE title, on this channel, of this AE title of ours."""
    ask(database, clock, "1.2.3.1")
    check_all(commitments(database, LocalFileStore(tmp_path), clock))
    asked_by = Requester("radiology", "INTU_SCP", "CT1")
    for others in (
        Due(CHECKED, titles=["X"]),
        Due(CHECKED, requesters=[asked_by._replace(channel="open")]),
        Due(CHECKED, requesters=[asked_by._replace(called_ae_title="OTHER")]),
        Due(CHECKED, titles=["CT1"], least_attempts=1),
    ):
        assert take(database, clock, others) is None
    held = take(database, clock, Due(CHECKED, requesters=[asked_by]))
    assert held is not None
    assert held.requester == asked_by


def rows(database: Database) -> list[tuple[str, str, bool]]:
    """Return requester, state and whether it is a repeat of every request, the oldest first."""
    with database.read() as connection:
        found = list_commitments(connection)
    return [(row.calling_ae_title, row.state, row.is_repeat) for row in reversed(found)]


def test_same_transaction_of_another_requester_is_no_repeat(
    database: Database, clock: FakeClock
) -> None:
    """A Transaction UID is one requester's own; for other instances it is a repeat."""
    for title, instance in (("CT1", "1.1"), ("CT2", "1.1"), ("CT1", "1.2"), ("CT1", "1.3")):
        ask(database, clock, instance, by=by(title))
    assert [(title, repeat) for title, _, repeat in rows(database)] == [
        ("CT1", False),
        ("CT2", False),
        ("CT1", True),
        ("CT1", True),
    ]


def test_same_request_again_is_the_same_request(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Whose answer or result was lost asks again, is told on its new association, and no 0131."""
    checking = commitments(database, LocalFileStore(tmp_path), clock)
    ask(database, clock, "1.1", by=by("CT1", "first"))
    ask(database, clock, "1.1", by=by("CT1", "second"))
    check_all(checking)
    held = take(database, clock, Due(CHECKED))
    assert held is not None
    assert held.association_id == "second"
    with database.write() as connection:
        table.reported(connection, held, clock.now())
    ask(database, clock, "1.1", by=by("CT1", "third"))
    check_all(checking)
    assert rows(database) == [("CT1", CHECKED, False)]
    held = take(database, clock, Due(CHECKED))
    assert held is not None
    assert held.association_id == "third"
    with database.read() as connection:
        assert [why for _, why in table.result(connection, held).failed] == [0x0112]


def test_same_request_that_an_older_version_took_is_the_same_request(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Its instances are known by their rows; other ones under its Transaction UID are a repeat."""
    checking = commitments(database, LocalFileStore(tmp_path), clock)
    ask(database, clock, "1.1", "1.2")
    check_all(checking)
    report(database, clock)
    with database.write() as connection:
        connection.execute(sa.update(storage_commitments).values(digest="", packed=None))
    for uids in (["1.1", "1.3"], ["1.1"], ["1.1", "1.2", "1.3"], ["1.2", "1.1"]):
        ask(database, clock, *uids)
    assert [repeat for _, _, repeat in rows(database)] == [False, True, True, True, True]
    ask(database, clock, "1.1", "1.2")
    assert [state for _, state, _ in rows(database)] == [RECEIVED] * 5
    check_all(checking)
    assert results(database) == ["0112", "0112"]


def test_same_request_on_another_channel_is_told_to_nobody_else(
    database: Database, clock: FakeClock
) -> None:
    """A stranger with AE title and Transaction UID of another one gets no result of that one."""
    ask(database, clock, "1.1", by=by("CT1", "first"))
    ask(database, clock, "1.1", by=by("CT1", "second", channel="open"))
    ask(database, clock, "1.1", by=replace(by("CT1", "third"), called_ae_title="OTHER"))
    assert [repeat for _, _, repeat in rows(database)] == [False, True, True]


def test_repeat_takes_one_row(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    """A repeat is told 0131 for every instance, and none of them has a row or is looked at."""
    ask(database, clock, "1.1")
    ask(database, clock, "1.2", "1.3")
    check_all(commitments(database, LocalFileStore(tmp_path), clock))
    assert results(database) == ["0112"]
    told = []
    while held := take(database, clock, Due(CHECKED)):
        with database.read() as connection:
            told.append([why for _, why in table.result(connection, held).failed])
    assert sorted(told) == [[0x0112], [0x0131, 0x0131]]
    with database.read() as connection:
        shown = list_items(connection, "1.2.3")
    assert [(one.sop_instance_uid, one.result) for one in shown] == [
        ("1.1", "0112"),
        ("1.2", "0131"),
        ("1.3", "0131"),
    ]


FULL = {
    "max_waiting": by("NEW"),
    "max_waiting_of_one": by("CT1", "again"),
    "max_waiting_instances": by("NEW"),
    "max_waiting_instances_of_one": by("INVENTED", address="10.0.0.1"),
}


def with_all_waiting(
    limit: str, database: Database, clock: FakeClock, tmp_path: Path
) -> Commitments:
    """Return what takes requests, with one waiting that fills a limit."""
    most = 2 if "instances" in limit else 1
    ask(database, clock, "1.1", "1.2", by=by("CT1", address="10.0.0.1"))
    return commitments(database, LocalFileStore(tmp_path), clock, **{limit: most})


@pytest.mark.parametrize("limit", FULL)
def test_what_waits_is_bounded(
    limit: str, database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Requests and instances that wait are bounded, in all and by AE title and address."""
    checking = with_all_waiting(limit, database, clock, tmp_path)
    with pytest.raises(LimitPassed) as caught:
        checking.take(request_of(FULL[limit]))
    assert caught.value.limit == f"storage_commitment.{limit}"
    if limit.endswith("of_one"):
        checking.take(request_of(by("OTHER", address="10.0.0.2")))
        assert len(rows(database)) == 2


@pytest.mark.parametrize("limit", FULL)
def test_request_of_who_has_asked_for_too_much_is_not_read(
    limit: str, database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Megabytes of one who is refused anyway do not keep the requests of others waiting."""
    checking = with_all_waiting(limit, database, clock, tmp_path)
    read: list[str] = []

    def reading() -> bytes:
        read.append(limit)
        return b"nothing that can be read"

    with pytest.raises(LimitPassed):
        checking.take(CommitmentRequest(FULL[limit], IMPLICIT, reading))
    assert read == []


def request_of(origin: Origin) -> CommitmentRequest:
    """Return a request as it came from the wire."""
    asked = [ReferencedInstance(CT_STORAGE, "1.2.3.1")]
    information = encode_action_information("1.2.9", asked, IMPLICIT)
    return CommitmentRequest(origin, IMPLICIT, lambda: information)


def test_requester_that_never_comes_takes_no_place(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """After ``tell_days`` a result is given up; a person can have it told again, looked at anew."""
    checking = commitments(database, LocalFileStore(tmp_path), clock, max_waiting=2)
    ask(database, clock, "1.1", by=by("GHOST"))
    ask(database, clock, "1.2", by=by("GHOST"))
    check_all(checking)
    upkeep = CommitmentUpkeep(database, clock, StorageCommitment())
    clock.advance(6 * 86_400)
    assert upkeep.do_some() == 0
    with pytest.raises(LimitPassed):
        checking.take(request_of(by("CT1")))
    clock.advance(2 * 86_400)
    assert upkeep.do_some() == 2
    checking.take(request_of(by("CT1")))
    assert [state for _, state, _ in rows(database)] == [UNREPORTED, UNREPORTED, RECEIVED]
    with database.write() as connection:
        assert tell_again(connection, clock.now(), by="me", requester="GHOST") == 2
    check_all(checking)
    assert upkeep.do_some() == 0
    assert take(database, clock, Due(CHECKED, titles=["GHOST"])) is not None
    assert take(database, clock, Due(CHECKED, titles=["GHOST"])) is not None


def test_what_has_ended_is_forgotten(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    """After ``keep_days`` a request that has ended goes, a piece at a time; others stay."""
    checking = commitments(database, LocalFileStore(tmp_path), clock)
    ask(database, clock, *(f"1.{number}" for number in range(1_200)), by=by("CT1"))
    check_all(checking)
    held = take(database, clock, Due(CHECKED))
    assert held is not None
    with database.write() as connection:
        table.reported(connection, held, clock.now())
    ask(database, clock, "1.1", transaction="1.2.8", by=by("CT1"))
    upkeep = CommitmentUpkeep(database, clock, StorageCommitment(tell_days=1_000))
    assert upkeep.do_some() == 0
    clock.advance(91 * 86_400)
    done = []
    while some := upkeep.do_some():
        done.append(some)
    assert len(done) == 2
    assert max(done) <= 1_001
    assert rows(database) == [("CT1", RECEIVED, False)]
    assert results(database) == []


def test_private_class_that_is_stored_is_supported(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """An unknown instance of a class that is stored fails as unknown, others by their class."""
    files = LocalFileStore(tmp_path)
    checking = Commitments(database, files, clock, "here", StorageCommitment(), {"1.2.3.4.5"})
    ask(database, clock, "1.1", sop_class="1.2.3.4.5")
    ask(database, clock, "1.1", sop_class="1.2.3.4.6", transaction="1.2.4")
    check_all(checking)
    assert results(database) == ["0112", "0122"]


def test_pruned_file_is_not_promised(database: Database, clock: FakeClock, tmp_path: Path) -> None:
    """What was pruned is not here any more, whether or not its file is still to be removed."""
    files = LocalFileStore(tmp_path)
    name = stage_file(database, clock, files, b"x" * 100)
    ask(database, clock, uid_of(name))
    with database.write() as connection:
        connection.execute(sa.update(instances).values(pruned_at=clock.now()))
    check_all(commitments(database, files, clock))
    assert results(database) == ["0112"]


def test_head_that_is_damaged_is_no_promise(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """A file whose meta information says something else, or nothing, is not what was received."""
    files = LocalFileStore(tmp_path)
    names = [stage_file(database, clock, files, b"x" * 100) for _ in range(3)]
    torn, lies, _ = (files.root / name for name in names)
    torn.write_bytes(b"X" * 300 + torn.read_bytes()[300:])
    lies.write_bytes(lies.read_bytes().replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2"))
    ask(database, clock, *map(uid_of, names))
    check_all(commitments(database, files, clock))
    assert results(database) == ["0110", "0110", "committed"]


class Watched(LocalFileStore):
    """Does something at each file that is opened, and before each of its blocks."""

    opened = 0
    at_open: Callable[[], None] = staticmethod(lambda: None)
    at_block: Callable[[], None] = staticmethod(lambda: None)

    def blocks(self, name: str) -> Iterator[bytes]:
        """Read it."""
        self.opened += 1
        self.at_open()
        for block in super().blocks(name):
            self.at_block()
            yield block


def test_claim_lasts_while_large_files_are_read(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """However long one file takes to come, nobody else begins the same request meanwhile."""
    files = Watched(tmp_path)
    name = stage_file(database, clock, files, bytes(5 << 20))
    ask(database, clock, uid_of(name))
    checking = commitments(database, files, clock)
    checking.list_some()
    others = []

    def wait_for_more() -> None:
        clock.advance(200)
        others.append(commitments(database, LocalFileStore(tmp_path), clock).check_some())

    files.at_block = wait_for_more
    assert checking.check_some() == 1
    assert len(others) > 5
    assert not any(others)
    assert results(database) == ["committed"]


def test_what_was_found_is_written_down_after_a_while(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Where files are slow a few are enough for one turn, and another request has the next."""
    files = Watched(tmp_path)
    files.at_open = lambda: clock.advance(2)
    names = [stage_file(database, clock, files, b"x" * 100) for _ in range(6)]
    ask(database, clock, *map(uid_of, names))
    clock.advance(1)
    ask(database, clock, uid_of(names[0]), transaction="1.2.4")
    checking = commitments(database, files, clock)
    checking.list_some()
    checking.list_some()
    assert (checking.check_some(), checking.check_some()) == (3, 1)
    assert results(database) == ["committed"] * 3 + [""] * 3 + ["committed"]


def test_result_that_is_old_is_looked_at_again(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """A requester that comes late is told what is true then, and not what was true once."""
    files = LocalFileStore(tmp_path)
    names = [stage_file(database, clock, files, b"x" * 100) for _ in range(2)]
    ask(database, clock, *map(uid_of, names))
    checking = commitments(database, files, clock)
    check_all(checking)
    (files.root / names[0]).write_bytes(b"damaged")
    telling = CommitmentResults(database, clock, StorageCommitment(), RetrySettings())
    clock.advance(86_400)
    assert telling.claim(Due(CHECKED)) is None
    clock.advance(86_400)  # its requester was away before that was done
    check_all(checking)
    clock.advance(86_400)
    claimed = telling.claim(Due(CHECKED))
    assert claimed is not None
    assert claimed[1].event_type_id == 2
    assert results(database) == ["0110", "committed"]


def test_result_of_what_is_known_to_be_gone_is_looked_at_again(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """However new the result is: what was pruned since is not told as committed."""
    files = LocalFileStore(tmp_path)
    name = stage_file(database, clock, files, b"x" * 100)
    ask(database, clock, uid_of(name))
    checking = commitments(database, files, clock)
    check_all(checking)
    with database.write() as connection:
        connection.execute(sa.update(instances).values(pruned_at=clock.now()))
    telling = CommitmentResults(database, clock, StorageCommitment(), RetrySettings())
    assert telling.claim(Due(CHECKED)) is None
    check_all(checking)
    claimed = telling.claim(Due(CHECKED))
    assert claimed is not None
    assert claimed[1].event_type_id == 2


def test_request_that_an_older_version_took_is_worked_on(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """A receiver of before writes rows of instances at once: they are looked at and told, too.

    Its repeats have such rows as well, and fail as a whole.
    """
    ask(database, clock, "1.9", transaction="1.2.9")
    with database.write() as connection:
        connection.execute(sa.update(storage_commitments).values(due_at=None))
        for key, is_repeat in ((101, False), (102, True)):
            row = {"commitment_key": key, "association_id": "asking", "calling_ae_title": "CT1"}
            row |= {"transaction_uid": "1.2.3", "is_repeat": is_repeat, "state": ASKED}
            row |= {"asked_at": clock.now(), "due_at": clock.now(), "number_of_instances": 1}
            connection.execute(sa.insert(storage_commitments).values(row))
            item = {"commitment_key": key, "number": 1, "sop_instance_uid": "1.1"}
            item |= {"sop_class_uid": CT_STORAGE}
            connection.execute(sa.insert(storage_commitment_items).values(item))
    check_all(commitments(database, LocalFileStore(tmp_path), clock))
    told = []
    while held := take(database, clock, Due(CHECKED)):
        with database.read() as connection:
            told.append([why for _, why in table.result(connection, held).failed])
    assert sorted(told) == [[0x0112], [0x0131]]


def test_older_version_finds_nothing_it_would_tell_wrongly(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """What has no rows yet is in a state that a worker of before does not know: it would see none.

    It takes up what is ``asked`` and ``checked``, and where it finds no instance nothing failed.
    """
    ask(database, clock, "1.1")
    ask(database, clock, "1.2")
    assert {state for _, state, _ in rows(database)} == {RECEIVED}
    check_all(commitments(database, LocalFileStore(tmp_path), clock))
    assert rows(database) == [("CT1", CHECKED, False), ("CT1", RECEIVED, True)]


def telling(database: Database, clock: FakeClock) -> CommitmentResults:
    """Return what tells results."""
    return CommitmentResults(database, clock, StorageCommitment(), RetrySettings())


def report(database: Database, clock: FakeClock) -> None:
    """Note that the requester has taken the only result."""
    held = take(database, clock, Due(CHECKED))
    assert held is not None
    with database.write() as connection:
        table.reported(connection, held, clock.now())


def test_what_was_seen_for_an_earlier_result_does_not_count(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Asked again after a month, or told again by a person, a result holds no longer than any."""
    files = LocalFileStore(tmp_path)
    names = [stage_file(database, clock, files, b"x" * 100) for _ in range(2)]
    checking = commitments(database, files, clock)
    ask(database, clock, uid_of(names[0]), transaction="1.2.1", by=by("CT1"))
    check_all(checking)
    report(database, clock)
    ask(database, clock, uid_of(names[1]), transaction="1.2.2", by=by("GHOST"))
    check_all(checking)
    clock.advance(30 * 86_400)
    CommitmentUpkeep(database, clock, StorageCommitment()).do_some()
    with database.write() as connection:
        assert tell_again(connection, clock.now(), by="me") == 1
    ask(database, clock, uid_of(names[0]), transaction="1.2.1", by=by("CT1"))
    check_all(checking)
    for name in names:
        (files.root / name).write_bytes(b"damaged")
    clock.advance(86_400)
    assert telling(database, clock).claim(Due(CHECKED)) is None
    check_all(checking)
    for _ in names:
        claimed = telling(database, clock).claim(Due(CHECKED))
        assert claimed is not None
        assert claimed[1].event_type_id == 2


def test_result_on_its_way_does_not_end_what_is_asked_meanwhile(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Who asks again before the answer to its result is noted is told once more."""
    ask(database, clock, "1.1")
    check_all(commitments(database, LocalFileStore(tmp_path), clock))
    held = take(database, clock, Due(CHECKED))
    assert held is not None
    ask(database, clock, "1.1")
    with pytest.raises(StaleClaim), database.write() as connection:
        table.reported(connection, held, clock.now())
    assert take(database, clock, Due(CHECKED)) is not None


@pytest.mark.parametrize("instances_left", [0, 1])
def test_result_that_lacks_instances_is_never_told(
    instances_left: int, database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Nothing failed where nothing is known: such a result would promise all that was asked.

    So it would be told after a version of before was run for a while, which drops what it does not
    know, and of a request that is about to be forgotten.
    """
    ask(database, clock, "1.1", "1.2", "1.3")
    ask(database, clock, "1.4")
    checking = commitments(database, LocalFileStore(tmp_path), clock)
    check_all(checking)
    item = storage_commitment_items.c
    with database.write() as connection:
        connection.execute(sa.update(storage_commitments).values(packed=None))
        connection.execute(sa.delete(storage_commitment_items).where(item.number > instances_left))
    assert telling(database, clock).claim(Due(CHECKED)) is None
    assert {state for _, state, _ in rows(database)} == {UNREPORTED}
    with database.write() as connection:
        assert tell_again(connection, clock.now(), by="me") == 0


def note_damage(database: Database, clock: FakeClock) -> None:
    """Note that every file is damaged."""
    with database.write() as connection:
        connection.execute(sa.update(instances).values(damaged_at=clock.now()))


def test_file_that_was_restored_is_told_as_committed(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Damage that was noted before the look does not have it repeated without end."""
    files = LocalFileStore(tmp_path)
    name = stage_file(database, clock, files, b"x" * 100)
    note_damage(database, clock)
    clock.advance(60)
    ask(database, clock, uid_of(name))
    check_all(commitments(database, files, clock))
    claimed = telling(database, clock).claim(Due(CHECKED))
    assert claimed is not None
    assert claimed[1].event_type_id == 1


@pytest.mark.parametrize("before", [False, True])
def test_damage_that_is_noted_during_a_look_is_looked_at(
    before: bool, database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """What somebody else found after a look had begun is not taken back by that look."""
    files = Watched(tmp_path)
    name = stage_file(database, clock, files, b"x" * 100)
    if before:
        note_damage(database, clock)
        clock.advance(60)
    ask(database, clock, uid_of(name))
    files.at_open = lambda: note_damage(database, clock)
    check_all(commitments(database, files, clock))
    assert telling(database, clock).claim(Due(CHECKED)) is None
    assert rows(database) == [("CT1", ASKED, False)]


class Elsewhere(LocalFileStore):
    """A store whose files wait in the spool of a machine that does not come back."""

    error: type[Exception] = NotHereYet

    def blocks(self, name: str) -> Iterator[bytes]:
        """Say that it is not here."""
        raise self.error(name)


@pytest.mark.parametrize("error", [NotHereYet, UnknownKey])
def test_file_that_never_comes_does_not_hold_a_request_for_ever(
    error: type[Exception], database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """What cannot be had for ``tell_days`` fails for lack of resources; the others are told."""
    files = LocalFileStore(tmp_path)
    name = stage_file(database, clock, files, b"x" * 100)
    ask(database, clock, uid_of(name), "1.9")
    elsewhere = Elsewhere(tmp_path)
    elsewhere.error = error
    waiting = commitments(database, elsewhere, clock)
    clock.advance(6 * 86_400)
    check_all(waiting)
    assert rows(database) == [("CT1", ASKED, False)]
    clock.advance(2 * 86_400)
    check_all(waiting)
    assert rows(database) == [("CT1", CHECKED, False)]
    assert results(database) == ["0213", "0112"]
    upkeep = CommitmentUpkeep(database, clock, StorageCommitment())
    clock.advance(6 * 86_400)
    assert upkeep.do_some() == 0  # what was found out late is told as long as any
    clock.advance(2 * 86_400)
    assert upkeep.do_some() == 1


def test_what_has_ended_does_not_grow_without_end(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """Who asks in a circle fills no disk: the oldest are forgotten, summed up once by an index."""
    checking = commitments(database, LocalFileStore(tmp_path), clock)
    limits = StorageCommitment(max_kept_instances=5)
    for number in range(4):
        clock.advance(120)
        ask(database, clock, "1.1", "1.2", transaction=f"1.2.{number}")
        check_all(checking)
        report(database, clock)
    upkeep = CommitmentUpkeep(database, clock, limits)
    with statements_of(database) as asked:
        while upkeep.do_some():
            pass
    sums = [one for one in asked if "sum(" in one[0]]
    assert len(sums) == 2
    for text, given in sums:
        plan = "\n".join(plan_of(database, text, given, without=["enable_seqscan"]))
        assert "ix_storage_commitments_ended" in plan, plan
    with database.read() as connection:
        kept = [row.transaction_uid for row in list_commitments(connection)]
    assert kept == ["1.2.3", "1.2.2"]
    assert len(results(database)) == 4


def test_look_that_waited_for_a_file_begins_anew(
    database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    """What was seen a day ago, before a file that could not be had, is looked at again."""
    files = Watched(tmp_path)
    first, second = (stage_file(database, clock, files, b"x" * 100) for _ in range(2))
    ask(database, clock, uid_of(first), uid_of(second))

    def second_is_away() -> None:
        if files.opened > 1:
            raise NotHereYet(second)

    files.at_open = second_is_away
    checking = commitments(database, files, clock)
    check_all(checking)
    assert results(database) == ["committed", ""]
    (files.root / first).write_bytes(b"damaged")
    clock.advance(86_400)
    files.at_open = lambda: None
    check_all(checking)
    assert results(database) == ["0110", "committed"]
    claimed = telling(database, clock).claim(Due(CHECKED))
    assert claimed is not None
    assert claimed[1].event_type_id == 2
