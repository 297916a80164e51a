"""What all tables of the staging database belong to, and how their parts are named."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Index, text

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def due_index(name: str, *columns: str) -> Index:
    """Index only what is due, so that finished work costs a claim nothing."""
    due = text("due_at IS NOT NULL")
    return Index(name, *columns, sqlite_where=due, postgresql_where=due)


def lease_index(name: str, *columns: str) -> Index:
    """Index only what a worker holds, so that counting it is cheap however much waits."""
    leased = text("lease_until IS NOT NULL")
    return Index(name, *columns, sqlite_where=leased, postgresql_where=leased)
