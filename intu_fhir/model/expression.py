"""A small language that says yes or no to a study, such as ``Modality in (CT, MR)``.

It knows comparisons, ``and``, ``or``, ``not`` and brackets, and nothing that could run, loop or
reach beyond the values it is asked about. A study has many values of an attribute, one for each
series or instance: a comparison holds where any of them fits, with ``every`` where all do.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Values: TypeAlias = Callable[[str], Collection[str]]
"""Returns the values that a study has of an attribute."""

ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Expression:
    """A condition on a study."""

    def holds(self, values: Values) -> bool:
        """Say whether it holds for a study with these values."""
        raise NotImplementedError

    def names(self) -> Iterator[str]:
        """Give every attribute it asks for."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Not(Expression):
    """The opposite."""

    inner: Expression

    def holds(self, values: Values) -> bool:
        """See ``Expression``."""
        return not self.inner.holds(values)

    def names(self) -> Iterator[str]:
        """See ``Expression``."""
        return self.inner.names()


@dataclass(frozen=True, slots=True)
class All(Expression):
    """Every part holds."""

    parts: tuple[Expression, ...]

    def holds(self, values: Values) -> bool:
        """See ``Expression``."""
        return all(part.holds(values) for part in self.parts)

    def names(self) -> Iterator[str]:
        """See ``Expression``."""
        return (name for part in self.parts for name in part.names())


@dataclass(frozen=True, slots=True)
class Either(Expression):
    """At least one part holds."""

    parts: tuple[Expression, ...]

    def holds(self, values: Values) -> bool:
        """See ``Expression``."""
        return any(part.holds(values) for part in self.parts)

    def names(self) -> Iterator[str]:
        """See ``Expression``."""
        return (name for part in self.parts for name in part.names())


@dataclass(frozen=True, slots=True)
class Has(Expression):
    """The attribute has a value."""

    name: str

    def holds(self, values: Values) -> bool:
        """See ``Expression``."""
        return any(values(self.name))

    def names(self) -> Iterator[str]:
        """See ``Expression``."""
        yield self.name


@dataclass(frozen=True, slots=True)
class Compares(Expression):
    """Any value of the attribute fits one of the wanted ones; with ``every`` all of them do."""

    name: str
    operator: str
    wanted: tuple[str, ...]
    every: bool = False

    def holds(self, values: Values) -> bool:
        """See ``Expression``; where there is no value, nothing fits."""
        found = [value for value in values(self.name) if value]
        return bool(found) and (all if self.every else any)(map(self._fits, found))

    def names(self) -> Iterator[str]:
        """See ``Expression``."""
        yield self.name

    def _fits(self, value: str) -> bool:
        parts = [value, *value.split("\\")] if "\\" in value else [value]
        return any(_fits(self.operator, part, one) for part in parts for one in self.wanted)


def _fits(how: str, value: str, wanted: str) -> bool:
    if how == "=":
        return value == wanted
    if how == "like":
        return glob(value.casefold(), wanted.casefold())
    one, other = _number(value), _number(wanted)
    if one is not None and other is not None:
        return ORDER[how](one, other)
    return ORDER[how](value, wanted)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def glob(text: str, pattern: str) -> bool:
    """Match ``*`` (anything) and ``?`` (one character), in time that cannot explode."""
    at, place, star, mark = 0, 0, -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, mark = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            at, place = at + 1, place + 1
        elif star >= 0:
            mark += 1
            at, place = mark, star + 1
        else:
            return False
    return all(character == "*" for character in pattern[place:])
