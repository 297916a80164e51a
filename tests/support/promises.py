"""Holds a staging area against what its receiver promised.

I1: what was answered Success has its row, its file, and the file the right hash.
I2: every row has a good file, and counts agree with rows.
I7: nothing is left that no row speaks of; one of ``removals`` says that its file is to go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from intu_fhir.db.file_tables import removals
from intu_fhir.db.session import Database
from intu_fhir.db.tables import instances, quarantine, series, studies
from intu_fhir.stage.part10 import find_data_set


@dataclass
class Broken:
    """What was promised and does not hold; empty lists are what everybody wants to see."""

    lost: list[str] = field(default_factory=list)
    bad_rows: list[str] = field(default_factory=list)
    wrong_counts: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def add(self, other: Broken) -> None:
        """Add what another look found."""
        for name, found in vars(other).items():
            getattr(self, name).extend(found)


def examine(
    database: Database,
    files: Path,
    acknowledged: Mapping[str, str],
    *,
    after: int = 0,
    leftovers: bool = True,
    spoiled: Collection[str] = (),
    writers: int = 1,
) -> tuple[Broken, int]:
    """Look at everything; return what is broken and the newest row's key.

    Args:
        acknowledged: SOP Instance UID and digest of what was answered Success.
        after: rows with keys up to this were looked at before.
        leftovers: whether files without a row count; they may be there before recovery only.
        spoiled: files that the test damaged itself; a row may go on naming such a one, as long as
            nothing was acknowledged since.
        writers: how many processes write there.
    """
    broken = Broken()
    with database.read() as connection:
        rows = _rows(connection, after)
        _look_at_rows(files, rows, acknowledged, broken, spoiled)
        _look_for_lost(connection, acknowledged, {row.sop_instance_uid for row in rows}, broken)
        _look_at_quarantine(connection, files, broken)
        broken.wrong_counts += _wrong_counts(connection)
        if database.is_sqlite:
            says = connection.exec_driver_sql("PRAGMA quick_check").scalar_one()
            broken.damage += [] if says == "ok" else [str(says)]
        if leftovers:
            broken.leftovers += _leftovers(connection, files, writers)
    return broken, max((row.instance_key for row in rows), default=after)


def _rows(connection: sa.Connection, after: int) -> list[Any]:
    newer = sa.select(
        instances.c.instance_key,
        instances.c.sop_instance_uid,
        instances.c.file,
        instances.c.data_set_offset,
        instances.c.sha256,
    ).where(instances.c.instance_key > after)
    return list(connection.execute(newer))


def _look_at_rows(
    files: Path,
    rows: list[Any],
    acknowledged: Mapping[str, str],
    broken: Broken,
    spoiled: Collection[str],
) -> None:
    for row in rows:
        try:
            data = (files / row.file).read_bytes()[row.data_set_offset :]
        except OSError:
            data = b""
        is_good = sha256(data).hexdigest() == row.sha256
        if not is_good and row.file not in spoiled:
            broken.bad_rows.append(row.sop_instance_uid)
        promised = acknowledged.get(row.sop_instance_uid)
        if promised is not None and (not is_good or promised != row.sha256):
            broken.lost.append(row.sop_instance_uid)


def _look_at_quarantine(connection: sa.Connection, files: Path, broken: Broken) -> None:
    for row in connection.execute(sa.select(quarantine.c.file, quarantine.c.sha256)):
        try:
            whole = (files / row.file).read_bytes()
        except OSError:
            whole = b""
        place = find_data_set(whole[:4_096])
        if place is None or sha256(whole[place.offset :]).hexdigest() != row.sha256:
            broken.bad_rows.append(row.file)


def _look_for_lost(
    connection: sa.Connection, acknowledged: Mapping[str, str], seen: set[str], broken: Broken
) -> None:
    broken.lost.extend(_without_row(connection, acknowledged.keys() - seen))


def _without_row(connection: sa.Connection, uids: Iterable[str]) -> list[str]:
    wanted, missing = sorted(uids), []
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        found = sa.select(instances.c.sop_instance_uid).where(
            instances.c.sop_instance_uid.in_(some)
        )
        missing += sorted(set(some) - set(connection.execute(found).scalars()))
    return missing


def lost(database: Database, acknowledged: Iterable[str]) -> list[str]:
    """Return what was answered Success and has no row."""
    with database.read() as connection:
        return _without_row(connection, acknowledged)


def _wrong_counts(connection: sa.Connection) -> Iterator[str]:
    for table, key in ((studies, "study_key"), (series, "series_key")):
        counted = (
            sa.select(instances.c[key], sa.func.count().label("number"))
            .group_by(instances.c[key])
            .subquery()
        )
        wrong = sa.select(table.c[key]).where(
            table.c.number_of_instances
            != sa.func.coalesce(
                sa.select(counted.c.number).where(counted.c[key] == table.c[key]).scalar_subquery(),
                0,
            )
        )
        for found in connection.execute(wrong).scalars():
            yield f"{table.name} {found}"


def _leftovers(connection: sa.Connection, files: Path, writers: int) -> list[str]:
    spoken_of = set()
    for table in (instances, quarantine, removals):
        spoken_of |= set(connection.execute(sa.select(table.c.file)).scalars())
    parts = ("incoming", "instances", "quarantine")
    there = {
        str(path.relative_to(files))
        for part in parts
        for path in (files / part).rglob("*")
        if path.is_file()
    }
    entries = [path.name for path in (files / "writers").iterdir()]
    too_many = [f"writers/{name}" for name in entries] if len(entries) > writers else []
    return sorted(there - spoken_of) + too_many
