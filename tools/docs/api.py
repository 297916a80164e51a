"""``docs/reference/api.md``: operations and shapes of the API, from its OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from intu_fhir.settings.web import Web
from intu_fhir.web.api.document import api_document
from tools.docs.markdown import code, page, table

_INTRODUCTION = """\
JSON under `/api/v1` on the port of the web page, asked with a token: see
[use the API](../how-to/use-the-api.md). `GET /api/v1/openapi.json` is the same as an OpenAPI 3.1
document. Fields may be added; none is removed or changes its meaning under this number."""

_PROBLEMS = """\
What does not do what was asked answers with `application/problem+json` (RFC 9457): `type`, `title`,
`status`, `detail`, which says what happened and what to do, and for 422 `errors` with each `field`
and its `problem`. Nothing of what was sent is repeated."""

_ROLES = """\
`POST /api/v1/sql`, and `where` of a replay, need the role of `web.sql.role`, which is `operator`
unless the configuration says otherwise."""


def api_page() -> str:
    """Return the page."""
    document = api_document(Web())
    schemas = document["components"]["schemas"]
    statuses = next(iter(next(iter(document["paths"].values())).values()))["responses"]
    problems = ((code(s), one["description"]) for s, one in statuses.items() if s >= "400")
    return page(
        "The API",
        _INTRODUCTION,
        "## Problems",
        _PROBLEMS,
        table(("Status", "Meaning"), problems),
        "## Operations",
        table(("Operation", "Role", "Answers", ""), _summary(document)),
        _ROLES,
        *_operations(document),
        "## Shapes",
        *_shapes(schemas),
    )


def _each(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _summary(document: Mapping[str, Any]) -> Iterator[Sequence[object]]:
    for name, one in _each(document):
        answer = next(body for status, body in one["responses"].items() if status < "300")
        shape = _kind(answer["content"]["application/json"]["schema"])
        yield code(name), one["x-role"], shape, one["description"].partition("\n")[0]


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    for name, one in _each(document):
        parameters = one.get("parameters", [])
        body = one.get("requestBody", {}).get("content", {}).get("application/json")
        more = one["description"].partition("\n")[2].strip()
        if not (parameters or body or more):
            continue
        yield f"### {code(name)}"
        if more:
            yield more
        if body:
            yield f"Body: {_kind(body['schema'])}."
        if parameters:
            rows = (_parameter(parameter) for parameter in parameters)
            yield table(("Name", "In", "Kind", "Meaning"), rows)


def _parameter(one: Mapping[str, Any]) -> Sequence[object]:
    schema = one["schema"]
    meaning = one.get("description") or schema.get("description", "")
    return code(one["name"]), one["in"], _kind(schema), meaning


def _shapes(schemas: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        yield f"### {name}"
        told = schema.get("description", "")
        summary, _, arguments = told.partition("\n\nArgs:\n")
        if summary:
            yield summary
        meanings = dict(_meanings(arguments))
        if "enum" in schema:
            yield ", ".join(map(code, schema["enum"])) + "."
        if "properties" in schema:
            rows = (
                (code(field), _kind(one), one.get("description") or meanings.get(field, ""))
                for field, one in schema["properties"].items()
            )
            yield table(("Field", "Kind", "Meaning"), rows)


def _meanings(arguments: str) -> Iterator[tuple[str, str]]:
    """Read the arguments of a docstring: a name and what it means, over one line or more."""
    name, text = "", ""
    for line in arguments.splitlines():
        if line.startswith("    ") and not line.startswith("     ") and ": " in line:
            if name:
                yield name, text
            name, _, text = line.strip().partition(": ")
        else:
            text += f" {line.strip()}"
    if name:
        yield name, text.strip()


def _kind(schema: Mapping[str, Any]) -> str:
    """Say in a few words what a value is."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    if schema.get("type") == "array":
        inner = schema.get("items") or {}
        return f"list of {_kind(inner)}" if inner else "list"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"map of {_kind(inner)}" if isinstance(inner, dict) and inner else "object"
    return str(schema.get("format") or schema.get("type") or "anything")
