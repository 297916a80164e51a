"""``docs/reference/configuration.md``: every key, from ``intu_fhir.settings.schema``."""

from __future__ import annotations

import ast
import inspect
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import annotated_types
from pydantic import AfterValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from intu_fhir.settings import schema
from intu_fhir.settings.schema import Channel, Settings, Site
from tools.docs.markdown import code, page, table

_INTRODUCTION = """\
A folder with `intu.yaml` for the site and one `channels/NAME/channel.yaml` for each channel.
`intu-fhir init` writes one to start from, `intu-fhir check` judges it. Unknown keys, wrong types,
missing files and a port used twice are errors that name file, line and remedy.

Paths are relative to the file they stand in. `${env:NAME}` and `${file:path}` inside of a value
take an environment variable or the content of a file: secrets belong there. The last line break of
either is dropped; a value that is empty then is an error, as one that is not there."""

_NAMES: Mapping[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Path: "path",
}

_AE_TITLE = typing.get_args(schema.AeTitle)[1].func


class Line(NamedTuple):
    """One key of the configuration."""

    key: str
    kind: str
    default: str
    meaning: str


def configuration_page() -> str:
    """Return the page."""
    return page(
        "Configuration",
        _INTRODUCTION,
        *_file("intu.yaml", Site),
        *_file("channel.yaml", Channel),
    )


def _file(name: str, model: type[Settings]) -> Iterator[str]:
    yield f"## {name}"
    yield _table(_lines(model, ""))
    for path, choice in _choices(model, ""):
        yield f"### {path} with `type: {_type_of(choice)}`"
        yield _first_line(choice)
        yield _table(_lines(choice, ""))


def _table(lines: Iterable[Line]) -> str:
    return table(
        ("Key", "Type", "Default", "Meaning"),
        ((code(line.key), line.kind, line.default, line.meaning) for line in lines),
    )


def _lines(model: type[Settings], prefix: str) -> Iterator[Line]:
    """Give the keys of a section, those of the sections in it right after their own."""
    meanings = _docstrings(model)
    for name, field in model.model_fields.items():
        key = prefix + name
        inner = _section(field.annotation)
        yield Line(key, _kind(field.annotation, field.metadata), _default(field), meanings[name])
        if inner is not None:
            yield from _lines(inner, f"{key}.")


def _choices(model: type[Settings], prefix: str) -> Iterator[tuple[str, type[Settings]]]:
    """Give the sections that have a ``type``, with the key they stand under."""
    for name, field in model.model_fields.items():
        options = _options(field.annotation)
        path = f"{prefix}{name}" + (".NAME" if typing.get_origin(field.annotation) is dict else "")
        for option in options:
            yield path, option
            yield from _choices(option, f"{path}.")
        inner = _section(field.annotation)
        if inner is not None:
            yield from _choices(inner, f"{path}.")


def _parts(annotation: Any) -> tuple[Any, ...]:
    """Return what a union, a mapping, a list or an annotated type is made of."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is dict:
        return _parts(typing.get_args(annotation)[1])
    if typing.get_origin(annotation) is tuple:
        return _parts(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(p for p in typing.get_args(annotation) if p is not type(None))
    return (annotation,)


def _options(annotation: Any) -> list[type[Settings]]:
    sections = [part for part in _parts(annotation) if _is_section(part)]
    return sections if len(sections) > 1 else []


def _section(annotation: Any) -> type[Settings] | None:
    sections = [part for part in _parts(annotation) if _is_section(part)]
    return sections[0] if len(sections) == 1 else None


def _is_section(part: Any) -> bool:
    return inspect.isclass(part) and issubclass(part, Settings)


def _kind(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Return a type in words, with its limits."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(args[0], args[1:])
    if origin is Literal:
        return ", ".join(map(code, args))
    if origin is tuple:
        return f"list: {_kind(args[0])}"
    if _options(annotation):
        kinds = ", ".join(code(_type_of(option)) for option in _options(annotation))
        named = "by name, each " if origin is dict else ""
        return f"{named}a section with `type`: {kinds}"
    if origin is dict:
        return f"{_kind(args[1])}, by name"
    parts = _parts(annotation)
    if _is_section(parts[0]):
        return "section"
    if parts != (annotation,):
        return _kind(parts[0])
    return _NAMES[annotation] + _limits(metadata)


def _limits(metadata: Iterable[Any]) -> str:
    words = []
    for limit in _flat(metadata):
        match limit:
            case annotated_types.Ge(ge=low):
                words.append(f"at least {low}")
            case annotated_types.Gt(gt=low):
                words.append(f"above {low}")
            case annotated_types.Le(le=high):
                words.append(f"at most {high}")
            case AfterValidator(func=check) if check is _AE_TITLE:
                words.append("an AE title")
    return f", {', '.join(words)}" if words else ""


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from item.metadata
        else:
            yield item


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None or value in ((), {}, ""):
        return ""
    if isinstance(value, Settings):
        kind = getattr(value, "type", "")
        return code(f"type: {kind}") if kind else ""
    return code(str(value).lower() if isinstance(value, bool) else value)


def _type_of(section: type[Settings]) -> str:
    kind: str = typing.get_args(section.model_fields["type"].annotation)[0]
    return kind


def _first_line(section: type[Settings]) -> str:
    return (section.__doc__ or "").strip().partition("\n")[0]


def _docstrings(model: type[Settings]) -> dict[str, str]:
    """Return the text below each field of a section and of those it is based on.

    Raises:
        KeyError: later on, for a field that has none.
    """
    found: dict[str, str] = {}
    for base in reversed([c for c in model.__mro__ if _is_section(c)]):
        body = ast.parse(inspect.getsource(base)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str() as said)):
                    found[name] = inspect.cleandoc(said).replace("\n", " ")
    return found
