"""SQL of a person's own: read-only, bounded in rows, size and time."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.app.exporting import WRITERS, readable
from intu_fhir.db.readonly import ADMINISTRATORS_ONLY, AUDIT_TRAIL, RefusedQuery, read_only_query
from intu_fhir.db.schema_report import tables, views
from intu_fhir.errors import TransientError
from intu_fhir.model.audit import Action
from intu_fhir.settings.web import Web
from intu_fhir.web.access.roles import Role
from intu_fhir.web.context import Site
from intu_fhir.web.fields import asked, one
from intu_fhir.web.http.trail import event_of, note
from intu_fhir.web.reading import reader_for, unable
from intu_fhir.web.rendering import asker_of, page, site_of, sql_role
from intu_fhir.web.routes import Route, get, post
from intu_fhir.web.saved_queries import SAVED, opened

MAX_STATEMENT = 100_000
MAX_BYTES = 64 * 1024 * 1024
"""Most bytes of text that a result may have."""

_CELL = 400
"""Characters of a cell that are shown."""

_SHORT = 12
"""Characters of a column's name that never break."""

_WHOLE = 64
"""Characters that stand in one line, as the longest UID has (PS3.5 9.1)."""

_KINDS: Mapping[str, str] = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
_AT_ONCE = threading.BoundedSemaphore(2)


class Busy(TransientError):
    """Enough statements run already."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave; ``has_more`` where rows were left out.

    Args:
        tables: what it read, where the database tells.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    has_more: bool
    tables: Collection[str]


def show(request: Request) -> Response:
    """Show the page with a statement to begin with."""
    saved = SAVED.get(asked(request, "query"))
    now = site_of(request).clock.now()
    statement = opened(saved, now) if saved else ""
    return _page(request, statement, problem=unable(site_of(request), _role(request)))


def run(request: Request) -> Response:
    """Run a statement and show its rows."""
    site = site_of(request)
    statement = one(request, "statement", longest=MAX_STATEMENT)
    try:
        answer = ask(site, _role(request), statement, site.web.sql.max_rows)
    except RefusedQuery as error:
        return _page(request, statement, problem=str(error), status=400)
    record(request, site, Action.QUERIED, answer, "sql")
    return _page(request, statement, answer=answer)


def download(request: Request) -> Response:
    """Run a statement and give its rows as a file."""
    site, kind = site_of(request), one(request, "kind")
    statement = one(request, "statement", longest=MAX_STATEMENT)
    if kind not in _KINDS:
        return _page(request, statement, problem="Choose CSV, JSON or Parquet.", status=400)
    try:
        answer = ask(site, _role(request), statement, site.web.sql.max_download_rows)
        if answer.has_more:
            problem = f"More than {len(answer.rows)} rows; narrow it down, or use `intu-fhir sql`."
            return _page(request, statement, kind=kind, problem=problem, status=400)
        content = WRITERS[kind](answer.columns, answer.rows)
    except RefusedQuery as error:
        return _page(request, statement, kind=kind, problem=str(error), status=400)
    record(request, site, Action.EXPORTED, answer, f"sql as {kind}")
    name = f'attachment; filename="intu-fhir.{kind}"'
    return Response(content, media_type=_KINDS[kind], headers={"content-disposition": name})


def record(request: Request, site: Site, action: Action, answer: Answer, reason: str) -> None:
    """Write down that somebody asked, and that they have read the audit trail where they have."""
    actions = [action, Action.AUDIT_READ] if AUDIT_TRAIL in answer.tables else [action]
    count = len(answer.rows)
    note(site, *(event_of(request, site, a, objects=count, reason=reason) for a in actions))


def ask(site: Site, role: Role, statement: str, limit: int) -> Answer:
    """Run a statement of somebody who has a role.

    Raises:
        RefusedQuery: it is wrong, would write, takes too long, or reads what the role may not.
        Busy: enough others run.
    """
    settings = site.web.sql
    if not statement.strip():
        raise RefusedQuery("There is no statement; write a SELECT, or open a saved query")
    reader = reader_for(site, role)
    with (
        _turn(settings.timeout_seconds),
        read_only_query(reader, statement, timeout_seconds=settings.timeout_seconds) as result,
    ):
        rows, is_cut = _bounded(result.rows, limit)
        return Answer(result.columns, rows, is_cut, result.tables)


def _bounded(found: Iterator[tuple[Any, ...]], limit: int) -> tuple[list[tuple[Any, ...]], bool]:
    """Take rows up to a limit in number and in size."""
    rows: list[tuple[Any, ...]] = []
    size = 0
    for row in islice(found, limit + 1):
        size += sum(len(value) if isinstance(value, (str, bytes)) else 16 for value in row)
        if len(rows) == limit or size > MAX_BYTES:
            return rows, True
        rows.append(row)
    return rows, False


@contextmanager
def _turn(patience: float) -> Iterator[None]:
    if not _AT_ONCE.acquire(timeout=min(5.0, patience)):
        raise Busy("Other statements run already; wait until they have ended")
    try:
        yield
    finally:
        _AT_ONCE.release()


def cell(value: Any) -> str:
    """Return what a cell shows of a value."""
    if value is None:
        return ""
    text = str(readable(value))
    return text if len(text) <= _CELL else text[:_CELL] + " …"


def is_long(text: str) -> bool:
    """Say whether a value may go over several lines; all others stand whole."""
    return len(text) > _WHOLE or "\n" in text


def halves(name: str) -> tuple[str, ...]:
    """Return the name of a column in the parts between which it may break: at one ``_``."""
    middle = len(name) // 2
    places = [at + 1 for at, one in enumerate(name[:-1]) if one == "_" and at]
    if len(name) <= _SHORT or not places:
        return (name,)
    best = min(places, key=lambda at: abs(at - middle))
    return name[:best], name[best:]


def numeric(answer: Answer) -> frozenset[int]:
    """Return the columns that hold numbers; what has no value does not count."""
    held = {
        at: value
        for row in reversed(answer.rows)
        for at, value in enumerate(row)
        if value is not None
    }
    return frozenset(at for at, value in held.items() if isinstance(value, (int, float, Decimal)))


def _page(
    request: Request,
    statement: str,
    *,
    answer: Answer | None = None,
    kind: str = "",
    problem: str = "",
    status: int = 200,
) -> Response:
    hidden = frozenset() if _role(request) >= Role.ADMINISTRATOR else ADMINISTRATORS_ONLY
    return page(
        request,
        "sql.html",
        status=status,
        title="SQL",
        statement=statement,
        answer=answer,
        kind=kind,
        problem=problem,
        saved=SAVED,
        views=views(),
        tables=[one for one in tables() if one.name not in hidden],
        cell=cell,
        is_long=is_long,
        halves=halves,
        numeric=numeric(answer) if answer is not None else frozenset(),
        settings=site_of(request).web.sql,
    )


def _role(request: Request) -> Role:
    person = asker_of(request).person
    assert person is not None, "the route needs a role"
    return person.role


def routes(web: Web) -> tuple[Route, ...]:
    """Return the routes; the configuration says which role they need."""
    needed = sql_role(web)
    return (
        get("/sql", needed, show),
        post("/sql", needed, run),
        post("/sql/download", needed, download),
    )
