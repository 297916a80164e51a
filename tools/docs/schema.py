"""``docs/reference/schema.md``: every view, table and column, from ``intu_fhir.db``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from pydicom.datadict import dictionary_description, keyword_dict
from pydicom.tag import Tag
from sqlalchemy.engine import make_url

from intu_fhir.db.columns import INSTANCE_COLUMNS, SERIES_COLUMNS, STUDY_COLUMNS
from intu_fhir.db.tables import metadata
from intu_fhir.db.views import VIEWS, View
from intu_fhir.model import work
from tools.docs.markdown import code, page, table

_POSTGRESQL = make_url("postgresql+psycopg://").get_dialect()()

_KEYWORDS = {
    **STUDY_COLUMNS,
    **SERIES_COLUMNS,
    **INSTANCE_COLUMNS,
    "study_instance_uid": "StudyInstanceUID",
    "series_instance_uid": "SeriesInstanceUID",
    "sop_instance_uid": "SOPInstanceUID",
    "sop_class_uid": "SOPClassUID",
}

_STATES = {
    work.WAITING: "due, or due once a lease or another step allows it",
    work.RUNNING: "a worker has it until `lease_until`",
    work.RETRYING: "failed for now; tried again at `due_at`",
    work.DONE: "the step has reached what was wanted",
    work.DELIVERED: "the destination has confirmed the wanted generation",
    work.DEAD: "a dead letter: nothing happens until `intu-fhir replay`",
    work.HELD: "waits for a person's decision, see `holds`",
    work.FILTERED: "the site's own hook decided not to send it",
}

_INTRODUCTION = """\
Names and columns are a public interface: write SQL on them, with `intu-fhir sql` or any client of
your own. They change in two moves only: a release adds, a later one removes.

* Attributes of DICOM headers stand as they were decoded, as text, empty where absent. The
  columns are a choice; `headers.dicom_json` has all of them.
* Times are UTC. `..._at` is a moment, `..._key` a number made by the database.
* An empty text means that nothing is known; null is used where "not yet" has to be told apart."""

_VIEWS = """\
Most questions need no more than these. They are made of the tables below; their names and columns
stay as well. A role that may read the views and nothing else:
[a role for readers](../how-to/run-on-postgresql.md#a-role-for-readers)."""

_TYPES = """\
Types are those of PostgreSQL. In SQLite `timestamptz` is text such as
`2024-03-01 12:00:00.000000`, `jsonb` is JSON text, `boolean` is 0 or 1, `bigint` is INTEGER."""

_EXAMPLES = """\
## To begin with

```sql
-- Studies of the last days, the newest first
SELECT study_instance_uid, modalities, number_of_instances, last_received_at
FROM studies ORDER BY last_received_at DESC LIMIT 20;
```

```sql
-- What has not reached its destination, and why
SELECT s.study_instance_uid, d.destination, d.state, d.attempts, d.due_at, d.last_error
FROM deliveries d JOIN studies s ON s.study_key = d.study_key
WHERE d.state NOT IN ('delivered', 'filtered');
```

```sql
-- Received, and what became of it, by sender
SELECT calling_ae_title, count(*) AS associations, sum(stored) AS stored,
       sum(already_stored) AS already_stored, sum(quarantined) AS quarantined,
       sum(refused) AS refused
FROM associations GROUP BY calling_ae_title ORDER BY calling_ae_title;
```"""


def _tables() -> list[sa.Table]:
    """Return the tables by name: the order of their registration follows that of the imports."""
    return sorted(metadata.tables.values(), key=lambda table: table.name)


def schema_page() -> str:
    """Return the page."""
    states = table(("`state`", "Meaning"), ((code(s), text) for s, text in _STATES.items()))
    return page(
        "The staging database",
        _INTRODUCTION,
        _EXAMPLES,
        "## Views",
        _VIEWS,
        *map(_view, VIEWS),
        "## How the tables hang together",
        _picture(),
        "## States of work and deliveries",
        states,
        "## Tables",
        _TYPES,
        *(_section(each) for each in _tables()),
    )


def _view(each: View) -> str:
    rows = ((code(name), text or _of_table(name)) for name, text in each.columns.items())
    return "\n\n".join(
        (f"### {each.name}", f"One row is {each.row}.", table(("Column", "Meaning"), rows))
    )


def _of_table(name: str) -> str:
    """Return what the tables say of a column of this name."""
    found = (t.columns[name] for t in _tables() if name in t.columns)
    return next(filter(None, map(meaning, found)), "")


def _picture() -> str:
    """Return the entity relationship diagram: keys, and what refers to what."""
    lines = ["```mermaid", "erDiagram"]
    for each in _tables():
        lines += [f"    {each.name} {{", *(f"        {line}" for line in _keys(each)), "    }"]
    for each in _tables():
        lines += [f"    {line}" for line in _relations(each)]
    return "\n".join([*lines, "```"])


def _keys(each: sa.Table) -> Iterator[str]:
    for column in each.columns:
        marks = [
            mark
            for mark, holds in (
                ("PK", column.primary_key),
                ("FK", bool(column.foreign_keys)),
                ("UK", bool(column.unique)),
            )
            if holds
        ]
        if marks:
            yield f"{_type(column).split('(')[0]} {column.name} {', '.join(marks)}"


def _relations(each: sa.Table) -> Iterator[str]:
    for column in each.columns:
        for key in column.foreign_keys:
            many = "o|" if column.primary_key and len(each.primary_key) == 1 else "o{"
            one = "|o" if column.nullable else "||"
            yield f"{key.column.table.name} {one}--{many} {each.name} : {column.name}"


def _section(each: sa.Table) -> str:
    rows = (
        (code(column.name), _type(column), "yes" if column.nullable else "", meaning(column))
        for column in each.columns
    )
    parts = [
        f"### {each.name}",
        each.comment or "",
        table(("Column", "Type", "Null", "Meaning"), rows),
        *_uniques(each),
        *_indexes(each),
    ]
    return "\n\n".join(filter(None, parts))


def _type(column: sa.Column[Any]) -> str:
    return (
        column.type.compile(_POSTGRESQL).lower().replace("timestamp with time zone", "timestamptz")
    )


def meaning(column: sa.Column[Any]) -> str:
    """Return what the column holds: in our words, in DICOM's, and where it leads."""
    keyword = _KEYWORDS.get(column.name)
    parts = [
        _attribute(keyword) if keyword else "",
        column.comment or "",
        *(f"→ `{key.target_fullname}`" for key in column.foreign_keys),
    ]
    return "; ".join(filter(None, parts))


def _attribute(keyword: str) -> str:
    tag = Tag(keyword_dict[keyword])
    return f"{dictionary_description(tag)} ({tag.group:04X},{tag.element:04X})"


def _uniques(each: sa.Table) -> Iterator[str]:
    for constraint in each.constraints:
        if isinstance(constraint, sa.UniqueConstraint) and len(constraint.columns) > 1:
            yield f"Unique: {', '.join(code(column.name) for column in constraint.columns)}."


def _indexes(each: sa.Table) -> Iterator[str]:
    listed = []
    for index in sorted(each.indexes, key=lambda index: str(index.name)):
        where = index.dialect_options["postgresql"]["where"]
        columns = ", ".join(column.name for column in index.columns)
        listed.append(code(columns + (f" where {where}" if where is not None else "")))
    if listed:
        yield f"Indexed: {'; '.join(listed)}."
