"""Values that stand elsewhere: ``${env:NAME}`` and ``${file:path}`` inside strings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.yaml_lines import Document, Location

MAX_BYTES = 65_536
_REFERENCE = re.compile(r"\$(\$?)\{([^}]*)\}")


NOT_SET = "(not-set)"
"""Stands where a value elsewhere is not needed and not there."""


def resolve_references(
    document: Document, environment: Mapping[str, str], *, without: frozenset[str] = frozenset()
) -> tuple[Document, frozenset[Location], list[ConfigurationError]]:
    """Put the referenced values in place.

    ``$${`` stands for a literal ``${``. The last line break of a file or variable is dropped. What
    is empty once it is resolved leads nowhere as well: it would pass for an empty secret.

    Args:
        without: keys of the first level below which a reference may lead nowhere.

    Returns:
        The new document, the places whose values came from elsewhere (messages must not show
        them), and the references that lead nowhere.
    """
    resolver = _Resolver(document, environment, without)
    value = resolver.resolve(document.value, ())
    resolved = Document(document.file, value, document.lines)
    return resolved, frozenset(resolver.places), resolver.mistakes


class _Resolver:
    def __init__(
        self, document: Document, environment: Mapping[str, str], without: frozenset[str]
    ) -> None:
        self._document = document
        self._without = without
        self._environment = environment
        self.places: set[Location] = set()
        self.mistakes: list[ConfigurationError] = []

    def resolve(self, value: Any, location: Location) -> Any:
        if isinstance(value, dict):
            return {key: self.resolve(item, (*location, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item, (*location, index)) for index, item in enumerate(value)]
        if isinstance(value, str):
            return self._text(value, location)
        return value

    def _text(self, value: str, location: Location) -> str:
        told = len(self.mistakes)
        text = _REFERENCE.sub(lambda match: self._replace(match, location), value)
        if text or not value or len(self.mistakes) > told:
            return text
        if self._without.intersection(location[:1]):
            return NOT_SET
        remedy = f"{value} is empty; give it a value, or remove the key"
        self.mistakes.append(self._document.mistake(remedy, *location))
        return ""

    def _replace(self, match: re.Match[str], location: Location) -> str:
        escaped, reference = match.groups()
        if escaped:
            return match.group()[1:]
        self.places.add(location)
        try:
            return self._look_up(reference)
        except LookupError as error:
            if self._without.intersection(location[:1]):
                return NOT_SET
            self.mistakes.append(self._document.mistake(str(error.args[0]), *location))
            return ""

    def _look_up(self, reference: str) -> str:
        kind, _, name = reference.partition(":")
        if kind == "env" and name:
            return self._variable(name)
        if kind == "file" and name:
            return self._file(name)
        raise LookupError("only ${env:NAME} and ${file:path} are known; $${ is a literal ${")

    def _variable(self, name: str) -> str:
        if name not in self._environment:
            raise LookupError(f"the environment variable {name} is not set; set it and try again")
        value = self._environment[name]
        if not _is_text(value):
            raise LookupError(f"the environment variable {name} is not UTF-8 text")
        return _without_line_break(value)

    def _file(self, name: str) -> str:
        path = self._document.file.parent / name
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise LookupError(f"the file {path} cannot be read ({error.strerror})") from None
        if len(data) > MAX_BYTES:
            raise LookupError(f"the file {path} is larger than {MAX_BYTES} bytes")
        try:
            return _without_line_break(data.decode("utf-8"))
        except UnicodeDecodeError:
            raise LookupError(f"the file {path} is not UTF-8 text") from None


def _is_text(value: str) -> bool:
    """Say whether a variable is text; of bytes that are none Python makes surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _without_line_break(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")
