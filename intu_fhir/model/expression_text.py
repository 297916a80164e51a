"""Reads expressions, such as ``Modality in (CT, MR) and not StudyDescription like "*test*"``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from intu_fhir.model.expression import ORDER, All, Compares, Either, Expression, Has, Not

MAX_CHARACTERS = 4_000
MAX_DEPTH = 32
"""Deepest nesting of brackets and ``not``."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>"[^"]*"|'[^']*')
    | (?P<operator><=|>=|!=|==|=|<|>|\(|\)|,)
    | \[(?P<private>[^\]]*)\]
    | (?P<word>[^\s"'<>=!(),\[\]]+)
    )""",
    re.VERBOSE,
)
_PLAIN = ("=", "==", "!=", *ORDER)
_KEYWORDS = frozenset({"and", "or", "not", "in", "like", "has", "every"})


class BadExpression(ValueError):
    """It cannot be read; the message says where and what is expected."""


def parse_expression(text: str) -> Expression:
    """Read an expression.

    Raises:
        BadExpression: it is none.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadExpression(f"longer than {MAX_CHARACTERS} characters")
    parser = _Parser(_tokens(text))
    expression = parser.either(0)
    if parser.kind != "end":
        parser.expected("`and`, `or` or the end")
    return expression


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(text: str) -> list[_Token]:
    tokens, at, end = list[_Token](), 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            rest = text[at:].lstrip()
            place = len(text) - len(rest) + 1
            raise BadExpression(f"cannot be read from character {place} on: {rest[:20]}")
        kind, value = found.lastgroup, found[found.lastgroup]
        if kind == "word" and value in _KEYWORDS:
            kind = "keyword"
        if kind == "text":
            value = value[1:-1]
        tokens.append(_Token(kind, value, found.start(found.lastgroup) + 1))
        at = found.end()
    return [*tokens, _Token("end", "", end + 1)]


class _Parser:
    """Recursive descent; one method for each rule."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens, self._at = tokens, 0

    @property
    def kind(self) -> str:
        """Kind of the token that comes next."""
        return self._tokens[self._at].kind

    def expected(self, what: str) -> NoReturn:
        """Say what should stand where something else does."""
        token = self._tokens[self._at]
        found = f"`{token.text}`" if token.kind != "end" else "the end"
        raise BadExpression(f"{what} expected at character {token.at}, not {found}")

    def either(self, depth: int) -> Expression:
        """Read what ``or`` joins."""
        parts = [self._both(depth)]
        while self._take("keyword", "or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self, depth: int) -> Expression:
        parts = [self._one(depth)]
        while self._take("keyword", "and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self, depth: int) -> Expression:
        if depth >= MAX_DEPTH:
            raise BadExpression(f"nested deeper than {MAX_DEPTH} levels")
        if self._take("keyword", "not"):
            return Not(self._one(depth + 1))
        if self._take("operator", "("):
            inner = self.either(depth + 1)
            self._need(")")
            return inner
        if self._take("keyword", "has"):
            return Has(self._name())
        every = self._take("keyword", "every")
        return self._comparison(self._name(), every)

    def _comparison(self, name: str, every: bool) -> Expression:
        opposite = self._take("keyword", "not")
        if self._take("keyword", "in"):
            compares = Compares(name, "=", self._list(), every)
        elif self._take("keyword", "like"):
            compares = Compares(name, "like", (self._value(),), every)
        elif opposite:
            self.expected("`in` or `like`")
        else:
            return self._plain(name, every)
        return Not(compares) if opposite else compares

    def _plain(self, name: str, every: bool) -> Expression:
        found = next((how for how in _PLAIN if self._take("operator", how)), None)
        if found is None:
            self.expected("a comparison (=, !=, <, <=, >, >=, in, like)")
        kind = found if found in ORDER else "="
        compares = Compares(name, kind, (self._value(),), every)
        return Not(compares) if found == "!=" else compares

    def _list(self) -> tuple[str, ...]:
        self._need("(")
        values = [self._value()]
        while self._take("operator", ","):
            values.append(self._value())
        self._need(")")
        return tuple(values)

    def _name(self) -> str:
        if self.kind not in ("word", "private"):
            self.expected("an attribute such as Modality")
        return self._next().text

    def _value(self) -> str:
        if self.kind not in ("word", "text"):
            self.expected("a value; put quotes around one with blanks")
        return self._next().text

    def _need(self, text: str) -> None:
        if not self._take("operator", text):
            self.expected(f"`{text}`")

    def _take(self, kind: str, text: str) -> bool:
        token = self._tokens[self._at]
        if (token.kind, token.text) != (kind, text):
            return False
        self._at += 1
        return True

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token
