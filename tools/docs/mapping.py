"""``docs/reference/mapping.md``: what becomes what, from the mapping files."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise

import orjson

from intu_fhir.build.checks import CHECKS
from intu_fhir.build.notes import REASONS
from intu_fhir.mappings import load_mapping
from intu_fhir.mappings.elements import ELEMENTS, RELEASES
from intu_fhir.mappings.rules import CONVERTERS, Rule
from tools.docs.markdown import code, page, table
from tools.docs.sample import example_of

_INTRO = """\
Of the shipped mapping, `mappings/imaging_study.yaml`. `intu-fhir preview` shows it on a study;
[change the mapping](../how-to/change-the-mapping.md) says how a site's own looks. R4 is 4.0.1 and
4.3.0, whose ImagingStudy is the same. The examples are of one made-up CT image, in R4 where R4 has
the element."""

_NOTES = """\
What a header says and could not be converted as it stands. The message of a finding names the
attribute, never a value; the raw value stays in staging."""

_CHECKS = """\
Every resource is judged by the schema of its release (code `schema`), then by these. A resource
with an error is held. `S17` is the size, `S20` that nothing is lost when the resource is read."""


def mapping_page() -> str:
    """Return the page."""
    levels = (part for level in ELEMENTS for part in (f"## {level.capitalize()}", _level(level)))
    return page(
        "Mapping",
        _INTRO,
        *levels,
        "## Converters",
        table(("Converter", "Makes", "Keys"), map(_converter, CONVERTERS)),
        "## Findings",
        _NOTES,
        table(
            ("Code", "Severity", "Meaning"),
            ((code(name), str(severity), text) for name, (severity, text) in REASONS.items()),
        ),
        "## Checks",
        _CHECKS,
        table(("Code", "Severity", "What must hold"), _checks()),
    )


def _level(level: str) -> str:
    rules = load_mapping().rules[level]
    rows = []
    for name, element in ELEMENTS[level].items():
        types = [code(element.types.get(release, "")) or "–" for release in RELEASES]
        listed = rules.get(name, ())
        sources = "; ".join(map(_source, listed)) or "left out"
        rows.append((code(name), *types, sources, _example(level, name)))
    return table(("Element", "R4", "R5", "From", "Example"), rows)


def _example(level: str, name: str) -> str:
    value = example_of(level, name)
    return code(orjson.dumps(value).decode()) if value is not None else ""


def _source(rule: Rule) -> str:
    names = list(dict.fromkeys(rule.attributes()))
    read = f" of {', '.join(map(code, names))}" if names else ""
    only = f" ({rule.release.upper()})" if rule.release else ""
    return f"{code(rule.converter)}{read}{only}"


def _converter(name: str) -> tuple[str, str, str]:
    rule = CONVERTERS[name]
    keys = [
        f"{code(field.alias or key)} {_told(rule, key)}".rstrip()
        for key, field in rule.model_fields.items()
        if key not in {"converter", "release", "sop_classes"}
    ]
    return code(name), (rule.__doc__ or "").strip(), " ".join(keys)


def _told(rule: type[Rule], field: str) -> str:
    """Return the text below a field of a rule."""
    for kind in rule.__mro__:
        if field in vars(kind).get("__annotations__", {}):
            body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
            return _text_after(body, field)
    return ""


def _text_after(kind: ast.stmt, field: str) -> str:
    statements = kind.body if isinstance(kind, ast.ClassDef) else []
    for one, following in pairwise(statements):
        named = isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        if named and ast.unparse(one).startswith(f"{field}:") and isinstance(following, ast.Expr):
            return str(ast.literal_eval(following.value))
    return ""


def _checks() -> Iterator[tuple[str, str, str]]:
    for name, severity, check in CHECKS:
        yield code(name), str(severity), (check.__doc__ or "").strip()
