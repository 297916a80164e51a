"""How space is promised."""

from __future__ import annotations

from intu_fhir.errors import StoreUnavailable
from intu_fhir.receive.space import FreeSpace
from tests.support.clock import FakeClock


class Disk:
    """A disk whose free space a test sets; counts who asks."""

    def __init__(self, free: int) -> None:
        self.free, self.asked = free, 0

    def __call__(self) -> int:
        """Return it."""
        self.asked += 1
        if self.free < 0:
            raise StoreUnavailable("the disk does not answer")
        return self.free


def test_promises_never_add_up_to_more_than_there_is(clock: FakeClock) -> None:
    """What is promised and not written counts as gone, also after another look."""
    disk = Disk(100)
    space = FreeSpace({"files": disk}, 40, clock)
    assert [space.promise(20) for _ in range(4)] == [True, True, True, False]
    clock.advance(1.1)
    assert not space.promise(20)
    space.give_back(20)
    clock.advance(1.1)
    assert space.promise(20)


def test_what_was_written_is_counted_once(clock: FakeClock) -> None:
    """A promise that is renewed is no promise any more, but gone from the disk."""
    disk = Disk(100)
    space = FreeSpace({"files": disk}, 40, clock)
    assert space.promise(30)
    disk.free = 70
    clock.advance(1.1)
    assert space.promise(30, used=30)
    disk.free = 40
    clock.advance(1.1)
    assert not space.promise(1, used=30)


def test_disks_are_asked_once_a_second_and_every_few_megabytes(clock: FakeClock) -> None:
    """A hundred small promises cost one look; 100 MB cost several; a full disk one a second."""
    disk = Disk(1 << 40)
    space = FreeSpace({"files": disk}, 1, clock)
    assert all(space.promise(1_000) for _ in range(100))
    assert disk.asked == 1
    assert all(space.promise(1 << 20) for _ in range(100))
    assert 5 <= disk.asked <= 10
    disk.free, before = 0, disk.asked
    clock.advance(1.1)
    assert not any(space.promise(1_000) for _ in range(100))
    assert disk.asked == before + 1


def test_the_lowest_place_decides_and_is_named(clock: FakeClock) -> None:
    """Where one of several disks has too little space, or does not answer, it is named."""
    files, database = Disk(1_000), Disk(1_000)
    space = FreeSpace({"files": files, "database": database}, 100, clock)
    assert space.promise(10)
    for free, fault in ((105, ""), (-1, "the disk does not answer"), (105, "")):
        database.free = free
        clock.advance(1.1)
        assert not space.promise(10)
        assert space.lowest == "database"
        assert str(space.fault or "") == fault


def test_a_place_that_cannot_be_asked_is_named_before_a_full_one(clock: FakeClock) -> None:
    """A disk that does not answer counts before one with too little space; OSError is told too."""

    def gone() -> int:
        raise FileNotFoundError(2, "No such file or directory")

    space = FreeSpace({"files": Disk(0), "database": gone}, 100, clock)
    assert not space.promise(10)
    assert space.lowest == "database"
    assert str(space.fault) == (
        "The disk of the database cannot be asked for space: No such file or directory"
    )


def test_without_a_floor_nothing_is_asked(clock: FakeClock) -> None:
    """Where ``min_free_bytes`` is 0 the disk itself says when it is full."""
    disk = Disk(0)
    assert FreeSpace({"files": disk}, 0, clock).promise(1 << 30)
    assert disk.asked == 0
