"""The schema's way up and down, on both databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from intu_fhir.db import migrate
from intu_fhir.db.partition_tables import is_part, speaks_for_itself
from intu_fhir.db.session import Database
from intu_fhir.db.tables import associations, attempts, deliveries, metadata, studies
from intu_fhir.errors import ConfigurationError, StoreUnavailable
from tests.support.clock import START
from tests.support.schema import schema


# SQLite tells no expression of an index; the next test compares these by their letters.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based")
def test_models_equal_migrations(database: Database) -> None:
    """The tables that migrations make differ in nothing from the ones the code declares."""
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": speaks_for_itself})
        assert compare_metadata(context, metadata) == []


def test_the_schema_is_the_same_to_the_letter(database: Database, database_url: str) -> None:
    """Indexes with their conditions, constraints, defaults and comments are equal, too."""
    declared = Database(database_url)
    with declared.write() as connection:
        metadata.create_all(connection)
    with declared.read() as ours, database.read() as migrated:
        assert schema(migrated) == schema(ours)
    declared.close()


def test_upgrade_from_nothing_reaches_head(database_url: str) -> None:
    """An empty database has no revision; after an upgrade it has the newest one."""
    assert migrate.current(database_url) is None
    migrate.upgrade(database_url)
    assert migrate.current(database_url) == migrate.head()
    migrate.require_head(database_url)


def test_asking_for_the_revision_creates_no_file(tmp_path: Path) -> None:
    """Looking at an SQLite database that is not there leaves nothing behind."""
    assert migrate.current(f"sqlite:///{tmp_path}/staging.db") is None
    assert list(tmp_path.iterdir()) == []


def test_upgrade_twice_keeps_rows(database_url: str) -> None:
    """A second upgrade changes nothing, rows least of all."""
    migrate.upgrade(database_url)
    database = Database(database_url)
    add_rows(database)
    migrate.upgrade(database_url)
    assert count_rows(database) == {"associations": 1, "studies": 1, "deliveries": 1, "attempts": 1}
    database.close()


def test_up_down_up_with_rows(database_url: str) -> None:
    """Every migration can be taken back while tables hold rows, and be made again."""
    migrate.upgrade(database_url)
    database = Database(database_url)
    add_rows(database)
    database.close()
    migrate.downgrade(database_url, "base")
    assert migrate.current(database_url) is None
    assert table_names(database_url) == {"alembic_version"}
    migrate.upgrade(database_url)
    assert table_names(database_url) == {"alembic_version", *metadata.tables}


def test_four_processes_upgrade_at_once(database_url: str) -> None:
    """Several programs started together on an empty database all find it at head."""
    code = f"from intu_fhir.db.migrate import upgrade; upgrade({database_url!r})"
    started = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    errors = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, errors
    assert migrate.current(database_url) == migrate.head()


def test_failed_migration_leaves_nothing(database_url: str) -> None:
    """A migration that fails half-way is undone as a whole."""
    database = Database(database_url)
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE work (mine INTEGER)"))
    database.close()
    with pytest.raises((sa.exc.SQLAlchemyError, StoreUnavailable), match="exists"):
        migrate.upgrade(database_url)
    assert table_names(database_url) == {"work"}


def test_empty_database_is_refused_with_the_remedy(database_url: str) -> None:
    """The program does not start on a database without tables and names the command."""
    with pytest.raises(ConfigurationError, match="run `intu-fhir db upgrade`"):
        migrate.require_head(database_url)


@pytest.mark.parametrize("action", [migrate.require_head, migrate.upgrade])
def test_newer_database_is_refused(
    migrated_database_url: str, action: Callable[[str], None]
) -> None:
    """A database that a newer version has upgraded is neither used nor touched."""
    set_revision(migrated_database_url, "9999")
    with pytest.raises(ConfigurationError, match=r"9999.*newer"):
        action(migrated_database_url)
    assert migrate.current(migrated_database_url) == "9999"


def set_revision(url: str, revision: str) -> None:
    """Write another revision into the database, as another version does."""
    database = Database(url)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    database.close()


def table_names(url: str) -> set[str]:
    """Return the tables of a database."""
    database = Database(url)
    with database.read() as connection:
        names = set(sa.inspect(connection).get_table_names())
    database.close()
    return {name for name in names if not is_part(name)}


def add_rows(database: Database) -> None:
    """Add one row to each of some tables that refer to one another."""
    with database.write() as connection:
        connection.execute(
            associations.insert().values(
                association_id="a1", kind="network", channel="c", started_at=START
            )
        )
        study = connection.execute(
            studies.insert().values(
                study_instance_uid="1.2.3",
                channel="c",
                first_received_at=START,
                last_received_at=START,
                revision=1,
            )
        ).inserted_primary_key[0]
        delivery = connection.execute(
            deliveries.insert().values(study_key=study, destination="ehr", want=1, updated_at=START)
        ).inserted_primary_key[0]
        connection.execute(
            attempts.insert().values(
                delivery_key=delivery,
                generation=1,
                number=1,
                started_at=START,
                ended_at=START,
                outcome="retry",
            )
        )


def count_rows(database: Database) -> dict[str, int]:
    """Return how many rows the tables of ``add_rows`` have."""
    tables = (associations, studies, deliveries, attempts)
    with database.read() as connection:
        return {
            table.name: connection.execute(
                sa.select(sa.func.count()).select_from(table)
            ).scalar_one()
            for table in tables
        }
