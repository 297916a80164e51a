"""How a migration divides a table into parts, and makes it whole again; PostgreSQL alone.

The table becomes the one part that holds everything: nothing is copied and nothing is read, so that
its locks are held for moments, and who wrote to it goes on as before. What refers to a table by its
number and not by its name would stay with the part: views, and who may read it. They are told of
the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from alembic import op

_VIEWS = """
SELECT DISTINCT v.oid, format('%I.%I', n.nspname, v.relname) AS name,
    array_to_string(v.reloptions, ', ') AS options, pg_get_viewdef(v.oid) AS query
FROM pg_depend d
JOIN pg_rewrite r ON d.classid = CAST('pg_rewrite' AS regclass) AND r.oid = d.objid
JOIN pg_class v ON v.oid = r.ev_class
JOIN pg_namespace n ON n.oid = v.relnamespace
WHERE d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid = CAST(:of AS regclass)
    AND v.relkind = 'v' AND pg_has_role(v.relowner, 'USAGE')
ORDER BY v.oid
"""
_GRANTS = """
SELECT format('GRANT %s ON %I TO %s%s', a.privilege_type, c.relname,
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
WHERE c.oid = CAST(:of AS regclass) AND a.grantee <> c.relowner
"""


@dataclass(frozen=True, slots=True)
class Division:
    """A table that counts its own key, and what has to be there of it in parts.

    Args:
        refers_to: the one table that it refers to.
        by: the column that does.
        indexes: the columns of its indexes, by name.
        locked: the two tables, in the order in which whoever writes takes them.
    """

    table: str
    key: str
    refers_to: str
    by: str
    indexes: Mapping[str, str]
    locked: Sequence[str]

    @property
    def first(self) -> str:
        """The name of its first part."""
        return f"{self.table}_0001"


def divide(of: Division) -> None:
    """Let a table be the first part of one of its name."""
    table, first = of.table, of.first
    with _same_for_others(of):
        op.execute(f"ALTER TABLE {table} RENAME TO {first}")
        _rename_indexes(of, to_part=True)
        op.execute(
            f"CREATE TABLE {table} (LIKE {first} INCLUDING DEFAULTS INCLUDING COMMENTS) "
            f"PARTITION BY RANGE ({of.key})"
        )
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY ({of.key})")
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_{of.by}_{of.refers_to} "
            f"FOREIGN KEY ({of.by}) REFERENCES {of.refers_to} ({of.by})"
        )
        for name, column in of.indexes.items():
            op.execute(f"CREATE INDEX {name} ON ONLY {table} ({column})")
        _own_sequence(of)
        op.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"
        )


def make_whole(of: Division) -> None:
    """Let a table be its first part again, with what all parts hold.

    What the others hold is copied, for as long as that takes: everything stands still.
    """
    table, first, parts = of.table, of.first, f"{of.table}_in_parts"
    with _same_for_others(of):
        op.execute(f"ALTER TABLE {table} DETACH PARTITION {first}")
        op.execute(f"ALTER TABLE {first} DROP CONSTRAINT IF EXISTS cut_{first}")
        op.execute(f"ALTER TABLE {table} RENAME TO {parts}")
        for name in (f"pk_{table}", *of.indexes):
            op.execute(f"ALTER INDEX {name} RENAME TO {name}_in_parts")
        op.execute(f"ALTER TABLE {first} RENAME TO {table}")
        _rename_indexes(of, to_part=False)
        _own_sequence(of)
        op.execute("SET LOCAL statement_timeout = 0")
        op.execute(f"INSERT INTO {table} TABLE {parts}")
    op.execute(f"DROP TABLE {parts}")


@contextmanager
def _same_for_others(of: Division) -> Iterator[None]:
    """Take the tables alone, and let views and readers of the one have the other afterwards.

    ATTACH changes the triggers of the table that is referred to. Asked for later than here, who
    writes would wait for it and it for him; and it gives up before PostgreSQL looks for such a
    circle (``deadlock_timeout``, a second) and ends any of them.
    """
    op.execute("SET LOCAL lock_timeout = '800ms'")
    for one in of.locked:
        op.execute(f"LOCK TABLE {one} IN ACCESS EXCLUSIVE MODE")
    connection = op.get_bind()
    comment = sa.select(sa.func.obj_description(sa.text(f"CAST('{of.table}' AS regclass)")))
    said = connection.execute(comment).scalar()
    views = connection.execute(sa.text(_VIEWS), {"of": of.table}).all()
    grants = connection.execute(sa.text(_GRANTS), {"of": of.table}).scalars().all()
    yield
    if said:
        op.execute(f"COMMENT ON TABLE {of.table} IS {_quoted(said)}")
    for view in views:
        options = f" WITH ({view.options})" if view.options else ""
        op.execute(_as_it_is(f"CREATE OR REPLACE VIEW {view.name}{options} AS {view.query}"))
    for grant in grants:
        op.execute(_as_it_is(grant))


def _rename_indexes(of: Division, *, to_part: bool) -> None:
    """Give the indexes of the first part the names that PostgreSQL gives those of a part."""
    names = {f"pk_{of.table}": f"{of.first}_pkey"}
    names |= {name: f"{of.first}_{column}_idx" for name, column in of.indexes.items()}
    for whole, part in names.items():
        old, new = (whole, part) if to_part else (part, whole)
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")


def _own_sequence(of: Division) -> None:
    """Let the sequence live and die with the table of its name."""
    op.execute(f"ALTER SEQUENCE {of.table}_{of.key}_seq OWNED BY {of.table}.{of.key}")


def _as_it_is(statement: str) -> sa.TextClause:
    return sa.text(statement.replace(":", "\\:"))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
