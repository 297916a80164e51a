"""Search by QIDO-RS (PS3.18 10.6): studies, series and instances, as one table of routes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.db.image_files import Place, elements_of, headers_of
from intu_fhir.db.image_query import (
    MODALITIES,
    Hit,
    Level,
    Wanted,
    find,
    first_instances,
    modalities_of,
    place_of,
)
from intu_fhir.db.old_headers import be_first_at_headers
from intu_fhir.db.session import Connection
from intu_fhir.web.access.roles import Role
from intu_fhir.web.dicomweb import asked
from intu_fhir.web.dicomweb.answers import Json, answer, header_tags
from intu_fhir.web.dicomweb.bulk_links import with_links
from intu_fhir.web.dicomweb.hidden import hidden_in
from intu_fhir.web.dicomweb.media import requires_json
from intu_fhir.web.dicomweb.parameters import BadSearch, Search, search_of
from intu_fhir.web.rendering import site_of
from intu_fhir.web.routes import Route, get

_BATCH = 200
_MOST_COUNTED = 1_000
"""Further matches are counted up to here; the one who asks is told that there are more."""


@dataclass(frozen=True)
class _Question:
    """One search.

    Args:
        parents: levels above that the answer describes as well.
    """

    level: Level
    parents: tuple[Level, ...]
    search: Search
    base: str


def searching(level: Level, *parents: Level) -> Callable[[Request], Response]:
    """Return what answers a search at a level."""

    def search(request: Request) -> Response:
        requires_json(request)
        try:
            parameters = search_of(request.query_params.multi_items(), level)
        except BadSearch as error:
            raise HTTPException(400, f"The search cannot be made: {error}.") from None
        return _answer(request, _Question(level, parents, parameters, asked.base_of(request)))

    return search


def _answer(request: Request, question: _Question) -> Response:
    site, search = site_of(request), question.search
    most = site.web.dicomweb.max_results
    limit = most if search.limit is None else min(search.limit, most)
    with site.database.snapshot() as connection:
        be_first_at_headers(connection)
        matches = _matches(connection, request, question)
        rows = list(islice(matches, search.offset, search.offset + limit))
        left = sum(1 for _ in islice(matches, _MOST_COUNTED + 1)) if rows else 0
        found, lacking = _described(connection, rows, question)
    asked.note_search(request, site, len(found))
    headers = _warnings(question, left, lacking)
    if not found:
        return Response(status_code=204, headers=headers)
    return asked.as_json(found, headers)


def _matches(connection: Connection, request: Request, question: _Question) -> Iterator[Hit]:
    """Give all matches, some at a time, without what is out of use."""
    wanted = _wanted(connection, request, question.search)
    after: int | None = None
    while wanted is not None:
        hits = find(connection, question.level, wanted, after=after, limit=_BATCH)
        hidden = hidden_in(connection, {hit.study_key for hit in hits})
        for hit in hits:
            if (shown := hidden.shown(question.level, hit)) is not None:
                yield shown
        if len(hits) < _BATCH:
            return
        after = hits[-1].key


def _wanted(connection: Connection, request: Request, search: Search) -> Wanted | None:
    """Return what is searched for, or None where the address names nothing that is here."""
    with_held = asked.may_see_held(request)
    if "study" not in request.path_params:
        return Wanted(search.keys, with_held=with_held)
    place = asked.place_of(request)
    keys = place_of(connection, place.study, place.series)
    return None if keys is None else Wanted(search.keys, *keys, with_held=with_held)


def _described(
    connection: Connection, rows: Sequence[Hit], question: _Question
) -> tuple[list[Json], int]:
    """Return matches as data sets, and how many of them lack what only a header has."""
    found: list[Json] = []
    lacking = 0
    for begin in range(0, len(rows), _BATCH):
        some = rows[begin : begin + _BATCH]
        headers = _headers(connection, some, question)
        lacking += sum(1 for header in headers.values() if header is None)
        some = _with_modalities(connection, some, question)
        found += [_data_set(hit, headers.get(hit.key) or {}, question) for hit in some]
    return found, lacking


def _with_modalities(
    connection: Connection, rows: Sequence[Hit], question: _Question
) -> Sequence[Hit]:
    if question.level != "study" and "study" not in question.parents:
        return rows
    modalities = modalities_of(connection, {hit.study_key for hit in rows})
    return [
        replace(hit, values={**hit.values, MODALITIES: modalities.get(hit.study_key, "")})
        for hit in rows
    ]


def _headers(
    connection: Connection, rows: Sequence[Hit], question: _Question
) -> dict[int, Mapping[str, Any] | None]:
    """Return what is needed of complete headers, by the keys of matches; None where it is gone."""
    level, search = question.level, question.search
    if level == "instance":
        speaks_for = {hit.key: hit.key for hit in rows}
    else:
        keys = [hit.key for hit in rows]
        tags = header_tags(level, search.include, everything=search.everything)
        speaks_for = first_instances(connection, keys, of=level) if tags else {}
    instances = set(speaks_for.values())
    read: Mapping[int, Mapping[str, Any]]
    if level == "instance" and search.everything:
        read = headers_of(connection, instances)
    else:
        tags = header_tags(level, search.include, everything=search.everything)
        read = elements_of(connection, instances, sorted(tags)) if tags and instances else {}
    return {key: read.get(instance) for key, instance in speaks_for.items()}


def _data_set(hit: Hit, header: Mapping[str, Any], question: _Question) -> Json:
    values = hit.values
    url = asked.address_of(
        question.base,
        Place(
            values["StudyInstanceUID"],
            values.get("SeriesInstanceUID"),
            values.get("SOPInstanceUID"),
        ),
    )
    return answer(
        question.level,
        hit,
        with_links(header, url) if question.level == "instance" else header,
        url=url,
        parents=question.parents,
        asked=question.search.include,
        everything=question.search.everything,
    )


def _warnings(question: _Question, left: int, lacking: int) -> dict[str, str]:
    """Return the Warning header (PS3.18 8.3.4.2 and 8.3.4.4.1)."""
    said = list(question.search.warnings)
    if left > _MOST_COUNTED:
        said.append(f"There are more than {_MOST_COUNTED} additional results that can be requested")
    elif left:
        said.append(f"There are {left} additional results that can be requested")
    if lacking:
        said.append(
            f"Of {lacking} results no complete header is staged; what only it has is left out"
        )
    return {"warning": ", ".join(f"299 {question.base}: {one}" for one in said)} if said else {}


def routes(prefix: str) -> tuple[Route, ...]:
    """Return the routes of the search."""
    study = f"{prefix}/studies/{{study}}"
    viewer = Role.VIEWER
    return (
        get(f"{prefix}/studies", viewer, searching("study")),
        get(f"{prefix}/series", viewer, searching("series", "study")),
        get(f"{prefix}/instances", viewer, searching("instance", "series", "study")),
        get(f"{study}/series", viewer, searching("series")),
        get(f"{study}/instances", viewer, searching("instance", "series")),
        get(f"{study}/series/{{series}}/instances", viewer, searching("instance")),
    )
