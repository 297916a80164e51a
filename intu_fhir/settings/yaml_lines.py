"""Read a YAML file together with the line on which every key and value stands.

The plain scalars are those of YAML 1.2 (core schema): ``NO`` and ``on`` are strings, ``0123``
keeps its zero, ``12:30`` is no number. Tags and several documents in one file are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from intu_fhir.errors import ConfigurationError

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_VALUES = 100_000
"""Values after aliases are written out, so that a small file cannot become a large one."""

Location: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the root of a file to a value."""

_TAG = "tag:yaml.org,2002:"
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class _Loader(yaml.SafeLoader):
    """Composes nodes only; plain scalars are resolved by the YAML 1.2 core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node, refusing a depth that would exhaust the stack."""
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            mark = parent.start_mark if parent is not None else None
            raise yaml.composer.ComposerError(
                None, None, f"nested deeper than {MAX_DEPTH} levels", mark
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


for _name, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0|[1-9]\d*)|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    ("float", r"[-+]?(?:(?:0|[1-9]\d*)\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(
        _TAG + _name, re.compile(f"^(?:{_pattern})$", re.ASCII), list(_first)
    )


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content and where it stands.

    Args:
        file: the file, as shown in messages.
        value: mappings, lists and scalars.
        lines: line of every key and list item, counted from 1; ``()`` is the root.
    """

    file: Path
    value: dict[str, Any]
    lines: dict[Location, int] = field(default_factory=dict)

    def line(self, location: Location) -> int:
        """Return the line of ``location`` or of the nearest thing around it."""
        while location not in self.lines and location:
            location = location[:-1]
        return self.lines.get(location, 1)

    def mistake(self, message: str, *location: str | int) -> ConfigurationError:
        """Return an error that points at ``location``."""
        return ConfigurationError(
            message, file=str(self.file), line=self.line(location), key=dotted(location)
        )


def dotted(location: Location) -> str:
    """Write a location as people do: ``destinations.ehr.auth`` or ``destinations[1]``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def load_with_lines(path: Path) -> Document:
    """Read one YAML file.

    Raises:
        ConfigurationError: the file cannot be read, is not YAML, names a key twice, or is larger
            or deeper than a configuration can be.
    """
    text = _read(path)
    try:
        root = _compose(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigurationError(
            f"not valid YAML ({error.problem}); correct the line or the one above it",
            file=str(path),
            line=line,
        ) from None
    except yaml.YAMLError:
        raise ConfigurationError(
            "holds characters that YAML does not allow; save it as plain UTF-8 text",
            file=str(path),
        ) from None
    builder = _Builder(path)
    value = {} if root is None else builder.build(root, ())
    if not isinstance(value, dict):
        raise ConfigurationError("must consist of `key: value` lines", file=str(path), line=1)
    return Document(path, value, builder.lines)


def _compose(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot be read ({error.strerror}); check its name and permissions", file=str(path)
        ) from None
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"larger than {MAX_BYTES} bytes", file=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            "not UTF-8 text; save it as UTF-8", file=str(path), line=line
        ) from None


class _Builder:
    """Turns nodes into values and notes their lines."""

    def __init__(self, file: Path) -> None:
        self._file = str(file)
        self._budget = MAX_VALUES
        self.lines: dict[Location, int] = {}

    def build(self, node: yaml.Node, location: Location) -> Any:
        self._budget -= 1
        if self._budget < 0 or len(location) > MAX_DEPTH:
            raise self._mistake("aliases make this too large; write the values out", node, location)
        self.lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, location)
        return self._scalar(node, location)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        self._expect(node, "map", location)
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, location)
            inner = (*location, key)
            if key in result:
                raise self._mistake(
                    f"stands here a second time (first on line {self.lines[inner]}); keep one",
                    key_node,
                    inner,
                )
            self.lines[inner] = key_node.start_mark.line + 1
            result[key] = self.build(value_node, inner)
        return result

    def _key(self, node: yaml.Node, location: Location) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._mistake("a key must be a single word", node, location)
        return str(node.value)

    def _sequence(self, node: yaml.SequenceNode, location: Location) -> list[Any]:
        self._expect(node, "seq", location)
        return [self.build(item, (*location, index)) for index, item in enumerate(node.value)]

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "bool" | "null":
                return _WORDS.get(text.lower(), text)
            case "int":
                # Base 0 reads 0x and 0o; a leading zero was resolved as a string.
                return self._number(text, lambda digits: int(digits, 0), node, location)
            case "float":
                return self._number(text, float, node, location)
        raise self._tag_mistake(node, location)

    def _number(self, text: str, read: Any, node: yaml.Node, location: Location) -> int | float:
        try:
            number: int | float = read(text)
        except ValueError:
            raise self._mistake("not a number; put text in quotes", node, location) from None
        return number

    def _expect(self, node: yaml.Node, kind: str, location: Location) -> None:
        if node.tag != _TAG + kind:
            raise self._tag_mistake(node, location)

    def _tag_mistake(self, node: yaml.Node, location: Location) -> ConfigurationError:
        return self._mistake("YAML tags (a word after `!`) are not used here", node, location)

    def _mistake(self, message: str, node: yaml.Node, location: Location) -> ConfigurationError:
        return ConfigurationError(
            message, file=self._file, line=node.start_mark.line + 1, key=dotted(location)
        )
