"""A database's schema in its own words, for comparison."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

_POSTGRESQL = (
    # every column with type, default and comment; a part of a table has those of its table
    """SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
              pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
       LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
       WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition
             AND c.relkind IN ('r', 'p')""",
    """SELECT relname, pg_get_expr(relpartbound, oid), pg_get_partkeydef(oid)
       FROM pg_class WHERE relnamespace = 'public'::regnamespace
         AND (relispartition OR relkind = 'p') AND relkind IN ('r', 'p')""",
    "SELECT indexname, indexdef, '' FROM pg_indexes WHERE schemaname = 'public'",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
       FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    """SELECT relname, obj_description(oid, 'pg_class'), ''
       FROM pg_class WHERE relnamespace = 'public'::regnamespace AND NOT relispartition
             AND relkind IN ('r', 'p')""",
)
_SQLITE = ("SELECT type, name, coalesce(sql, '') FROM sqlite_master WHERE type <> 'view'",)


def schema(connection: Connection) -> list[tuple[str, ...]]:
    """Return every table, column, constraint and index of the staging database, sorted."""
    queries = _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL
    rows = (row for query in queries for row in connection.execute(sa.text(query)))
    described = (tuple(_lines(str(value)) for value in row) for row in rows)
    return sorted(row for row in described if "alembic_version" not in " ".join(row))


def _lines(value: str) -> str:
    """Sort the parts of a CREATE TABLE: a column that was added later stands behind them all."""
    if not value.startswith("CREATE TABLE"):
        return value
    inside = " ".join(value[value.index("(") + 1 : value.rindex(")")].split())
    return "\n".join(sorted(_parts(inside)))


def _parts(text: str) -> list[str]:
    """Split at the commas that stand in no bracket and in no quotation."""
    parts, depth, quoted = [""], 0, False
    for char in text:
        quoted ^= char == "'"
        depth += 0 if quoted else (char == "(") - (char == ")")
        if char == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]
