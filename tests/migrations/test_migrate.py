"""The schema's way up and down, on both databases."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from intu_fhir.db import migrate
from intu_fhir.db.partition_tables import is_part, speaks_for_itself
from intu_fhir.db.session import Database
from intu_fhir.db.tables import (
    associations,
    attempts,
    deliveries,
    metadata,
    schema_versions,
    studies,
)
from intu_fhir.errors import ConfigurationError, StoreUnavailable
from tests.support.clock import START
from tests.support.schema import schema

_TAKES_AWAY = re.compile(
    r"op\.(?:drop_column|drop_table|rename_table|alter_column)|DROP (?:COLUMN|TABLE)"
)


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
    migrate.require_fit(database_url)


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
        migrate.require_fit(database_url)


@pytest.mark.parametrize("action", [migrate.require_fit, migrate.upgrade])
@pytest.mark.parametrize("runs_from", ["9998", None])
def test_newer_database_is_refused(
    migrated_database_url: str, action: Callable[[str], None], runs_from: str | None
) -> None:
    """A database that a newer version has contracted, or that says nothing, is left alone."""
    set_revision(migrated_database_url, "9999", runs_from)
    with pytest.raises(ConfigurationError, match=r"9999.*newer"):
        action(migrated_database_url)
    assert migrate.current(migrated_database_url) == "9999"


@pytest.mark.parametrize("action", [migrate.require_fit, migrate.upgrade])
def test_newer_database_that_only_grew_is_used(
    migrated_database_url: str, action: Callable[[str], None]
) -> None:
    """A database that a newer version has only added to is used by this one, and left as it is."""
    set_revision(migrated_database_url, "9999", migrate.head())
    action(migrated_database_url)
    assert migrate.current(migrated_database_url) == "9999"


def test_newer_database_is_never_taken_back(migrated_database_url: str) -> None:
    """Only the version that knows a migration can take it back, or go to a revision by name."""
    set_revision(migrated_database_url, "9999", migrate.head())
    with pytest.raises(ConfigurationError, match=r"9999.*newer"):
        migrate.downgrade(migrated_database_url, "0018")
    with pytest.raises(ConfigurationError, match=r"9999.*newer"):
        migrate.upgrade(migrated_database_url, migrate.head())


def test_a_database_from_before_that_row_is_refused(database_url: str) -> None:
    """Where no table says who may run, nobody but the version that made it does."""
    migrate.upgrade(database_url, "0018")
    set_revision(database_url, "9999", None)
    with pytest.raises(ConfigurationError, match=r"9999.*newer"):
        migrate.require_fit(database_url)


def test_whatever_takes_away_says_who_may_run() -> None:
    """A migration that drops or changes what older programs use raises ``runs_from``.

    And revisions are numbers of four digits, which this version compares with its own.
    """
    script = ScriptDirectory.from_config(migrate._config())
    for one in script.walk_revisions():
        assert re.fullmatch(r"[0-9]{4}", one.revision)
        silent = taking_away(Path(one.path).read_text("utf-8"))
        # Nobody runs beside these who compares revisions: that came with 0021.
        assert one.revision <= "0021" or not silent, f"{one.revision}: {silent}"


@pytest.mark.parametrize(
    ("body", "is_silent"),
    [
        ('op.drop_column("studies", "patient_name")', True),
        ('op.execute("ALTER TABLE studies DROP COLUMN patient_name")', True),
        ('op.alter_column("studies", "x", nullable=False)', True),
        ('op.drop_column("studies", "x"); online.runs_from("0099")', False),
        ('op.add_column("studies", column)', False),
    ],
)
def test_a_silent_contraction_is_seen(body: str, is_silent: bool) -> None:
    """The test above fails for a migration that takes away and does not say so."""
    code = f"def upgrade():\n    {body}\n\ndef downgrade():\n    op.drop_column('a', 'b')\n"
    assert bool(taking_away(code)) == is_silent


def taking_away(code: str) -> list[str]:
    """Return what the way up of a migration takes away without saying who may still run."""
    tree = ast.parse(code)
    ways = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == "upgrade"]
    text = "\n".join(ast.unparse(one) for one in ways)
    if "runs_from(" in text:
        return []
    return _TAKES_AWAY.findall(text)


def set_revision(url: str, revision: str, runs_from: str | None) -> None:
    """Write another revision into the database, as another version does."""
    database = Database(url)
    with database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
        if sa.inspect(connection).has_table("schema_versions"):
            connection.execute(sa.delete(schema_versions))
            if runs_from:
                connection.execute(sa.insert(schema_versions).values(runs_from=runs_from))
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
