"""How Alembic reaches the staging database."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection

from intu_fhir.db.kinds import UtcDateTime
from intu_fhir.db.partition_tables import speaks_for_itself
from intu_fhir.db.session import Database
from intu_fhir.db.tables import metadata


def render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write our own type into migrations as what it is in SQL, so that they never change."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def migrate(connection: Connection) -> None:
    """Run what Alembic was asked for: in the transaction that the connection is in, else in one
    for each migration.
    """
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_item=render_item,
        include_name=speaks_for_itself,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Use the connection that was handed in, or the URL of ``alembic.ini`` on a developer's own."""
    connection: Connection | None = context.config.attributes.get("connection")
    if connection is not None:
        migrate(connection)
        return
    database = Database(context.config.get_main_option("sqlalchemy.url", ""))
    with database.write() as connection:
        migrate(connection)
    database.close()


main()
