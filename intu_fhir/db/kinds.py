"""Kinds of columns: what most columns of the staging database have in common."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey
from sqlalchemy.dialects import postgresql, sqlite


class _SqliteDateTime(sqlite.DATETIME):
    """Writes the same text as its parent, in a fraction of the time: each image has four."""

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[datetime | None], str | None]:
        """Return what makes text of a time without a zone."""
        return _as_text


def _as_text(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat(" ", "microseconds")


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware UTC datetimes: ``timestamptz`` on PostgreSQL, sortable text on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Take our own way of writing it on SQLite."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(_SqliteDateTime())  # type: ignore[no-untyped-call]
        return super().load_dialect_impl(dialect)

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse naive times, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """Give back aware UTC."""
        if value is None:
            return None
        stored: datetime = value
        return stored.replace(tzinfo=UTC) if stored.tzinfo is None else stored.astimezone(UTC)


Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Uid = sa.String(64)


def key(name: str) -> Column[int]:
    """Return the primary key that the database counts up."""
    return Column(name, Key, primary_key=True, autoincrement=True, comment="made by the database")


def of_study() -> Column[Any]:
    """Return the reference of a row to its study."""
    return refers("study_key", "studies.study_key", "the study")


def words(name: str, comment: str | None = None, *, length: int | None = None) -> Column[str]:
    """Return text that is empty where nothing is known."""
    kind = sa.String(length) if length else sa.Text()
    return Column(name, kind, nullable=False, server_default="", comment=comment)


def count(name: str, comment: str) -> Column[int]:
    """Return a number that starts at 0."""
    return Column(name, sa.Integer, nullable=False, server_default="0", comment=comment)


def flag(name: str, comment: str) -> Column[bool]:
    """Return a yes or no that is no unless something else is said."""
    return Column(name, sa.Boolean, nullable=False, server_default=sa.false(), comment=comment)


def moment(name: str, comment: str) -> Column[datetime]:
    """Return a time that every row has."""
    return Column(name, UtcDateTime, nullable=False, comment=comment)


def given(
    name: str,
    kind: sa.types.TypeEngine[Any] | type[sa.types.TypeEngine[Any]],
    comment: str | None = None,
) -> Column[Any]:
    """Return a column that every row has to fill."""
    return Column(name, kind, nullable=False, comment=comment)


def refers(name: str, target: str, comment: str) -> Column[Any]:
    """Return a reference that every row has."""
    kind = sa.String(32) if target == "associations.association_id" else Key
    return Column(name, kind, ForeignKey(target), nullable=False, comment=comment)
