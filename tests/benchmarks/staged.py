"""The rate where a million instances are staged already, against an empty database."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from tests.benchmarks.receivers import Receiver, ours
from tests.support.databases import PostgresCluster, sqlite_url

ROWS = 1_000_000
_IN_SERIES, _IN_STUDY = 100, 400
_THEN = "'2024-01-01 00:00:00'"

_COUNT = """
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {rows})
"""


# In an order that has nothing to do with the UIDs', as UIDs of many senders would come.
def fill_statements(rows: int) -> tuple[str, ...]:
    """Return the SQL that stages so many instances, on either database."""
    return (
        f"""
INSERT INTO associations (association_id, kind, channel, started_at, ended_at, end_reason)
{_COUNT.format(rows=rows // _IN_STUDY)}
SELECT 'before' || (n + 1), 'network', 'radiology', {_THEN}, {_THEN}, 'released' FROM numbers
""",
        f"""
INSERT INTO studies (study_instance_uid, channel, first_received_at, last_received_at, revision,
    number_of_instances, number_of_series, patient_id)
{_COUNT.format(rows=rows // _IN_STUDY)}
SELECT '1.2.3.1.' || n, 'radiology', {_THEN}, {_THEN}, 400, 400, 4, 'P' || n FROM numbers
""",
        f"""
INSERT INTO series (study_key, series_instance_uid, number_of_instances, modality)
{_COUNT.format(rows=rows // _IN_SERIES)}
SELECT n / 4 + 1, '1.2.3.2.' || n, 100, 'CT' FROM numbers
""",
        """
INSERT INTO association_studies (association_id, study_key)
SELECT 'before' || study_key, study_key FROM studies
""",
        f"""
INSERT INTO work (study_key, step, want, have, state, updated_at)
SELECT study_key, 'aggregate', 400, 400, 'done', {_THEN} FROM studies
""",
        f"""
INSERT INTO instances (sop_instance_uid, study_key, series_key, association_id, sop_class_uid,
    transfer_syntax_uid, received_at, file, data_set_offset, data_set_bytes, sha256, patient_id,
    modality, series_number, instance_number, described_at)
{_COUNT.format(rows=rows)}
SELECT '2.25.' || ((CAST(n AS bigint) * 7919 + 1000003) * 1000003 % 998244353) || '.' || n,
    n / {_IN_STUDY} + 1, n / {_IN_SERIES} + 1, 'before' || (n / {_IN_STUDY} + 1),
    '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', {_THEN},
    'instances/2024/01/01/0000/' || n || '.dcm', 340, 526000,
    '{"0" * 64}', 'P' || n / {_IN_STUDY}, 'CT', '1', '1', {_THEN}
FROM numbers
""",
    )


@contextlib.contextmanager
def stocked_sqlite() -> Iterator[tuple[Receiver, Receiver]]:
    """Give this receiver on SQLite with a million instances, and with none.

    For both of them a copy of the million is written, and only then used or left alone: after
    hundreds of megabytes a disk may take less for a while, and that is none of the receiver's.
    """
    with tempfile.TemporaryDirectory(prefix="intu-bench-") as folder:
        stock = Path(folder) / "staging.db"
        _fill(sqlite_url(stock))

        def copied(place: Path) -> Path:
            copy = Path(shutil.copyfile(stock, place / "million.db"))
            os.sync()  # else the disk writes the copy while the images come
            return copy

        def empty(place: Path) -> str:
            return sqlite_url(copied(place).with_name("staging.db"))

        yield (
            ours("SQLite, a million staged", lambda place: sqlite_url(copied(place))),
            ours("SQLite, nothing staged", empty),
        )


@contextlib.contextmanager
def stocked_postgresql(cluster: PostgresCluster) -> Iterator[tuple[Receiver, Receiver]]:
    """Give this receiver on PostgreSQL with a million instances, and with none.

    As with SQLite, both of them have a copy of the million made.
    """
    stock = cluster.create()
    _fill(cluster.url(stock))
    copies: list[str] = []

    def copied(_: Path) -> str:
        for old in copies:
            cluster.drop(old)
        copies[:] = [cluster.create(stock)]
        _settle(cluster.url(copies[0]), "CHECKPOINT")
        os.sync()
        return cluster.url(copies[0])

    def empty(place: Path) -> str:
        copied(place)
        return cluster.url(cluster.create())

    yield (
        ours("PostgreSQL, a million staged", copied),
        ours("PostgreSQL, nothing staged", empty),
    )
    for name in (stock, *copies):
        cluster.drop(name)


def _fill(url: str) -> None:
    """Stage the rows of 2,500 studies, in SQL alone."""
    migrate.upgrade(url)
    database = Database(url)
    with database.write() as connection:
        for statement in fill_statements(ROWS):
            connection.exec_driver_sql(statement.replace("%", "%" if database.is_sqlite else "%%"))
    database.close()
    # As a site would leave it: PostgreSQL counts by itself what is there, SQLite never does.
    _settle(url, "PRAGMA wal_checkpoint(TRUNCATE)" if database.is_sqlite else "ANALYZE")


def _settle(url: str, statement: str) -> None:
    """Run what belongs to no transaction."""
    database = Database(url)
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(statement)
    database.close()
