"""The language of ``only.where`` over all texts and all studies."""

from __future__ import annotations

import contextlib
import fnmatch
import re

from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.model.expression import All, Compares, Either, Expression, Has, Not, glob
from intu_fhir.model.expression_text import BadExpression, parse_expression

NAMES = st.sampled_from(["Modality", "PatientID", "StudyDate", "0019xx10:ACME X"])
WORDS = st.text(st.characters(exclude_characters='"', exclude_categories=["Cs"]), max_size=8)
PIECES = ["(", ")", "=", "!=", "<", ",", '"', "not", "and", "or", "in", "every", "A", "B"]
STUDIES = st.dictionaries(NAMES, st.lists(WORDS, max_size=3), max_size=4)
LEAVES = st.one_of(
    st.builds(Has, NAMES),
    st.builds(
        Compares,
        NAMES,
        st.just("="),
        st.lists(WORDS, min_size=1, max_size=3).map(tuple),
        st.booleans(),
    ),
    st.builds(
        Compares,
        NAMES,
        st.sampled_from(["like", "<", "<=", ">", ">="]),
        st.tuples(WORDS),
        st.booleans(),
    ),
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Either, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


def written(expression: Expression) -> str:
    """Write an expression as a person could."""
    if isinstance(expression, Not):
        return f"not ({written(expression.inner)})"
    if isinstance(expression, All):
        return " and ".join(f"({written(part)})" for part in expression.parts)
    if isinstance(expression, Either):
        return " or ".join(f"({written(part)})" for part in expression.parts)
    if isinstance(expression, Has):
        return f"has {_name(expression.name)}"
    assert isinstance(expression, Compares)
    every = "every " if expression.every else ""
    values = ", ".join(f'"{value}"' for value in expression.wanted)
    if expression.operator == "=":
        return f"{every}{_name(expression.name)} in ({values})"
    return f"{every}{_name(expression.name)} {expression.operator} {values}"


def _name(name: str) -> str:
    return f"[{name}]" if ":" in name else name


@given(EXPRESSIONS, STUDIES)
def test_what_is_written_means_the_same_when_read(
    expression: Expression, study: dict[str, list[str]]
) -> None:
    """Reading what was written gives an expression that judges every study alike."""
    again = parse_expression(written(expression))

    def values(name: str) -> list[str]:
        return study.get(name, [])

    assert again.holds(values) == expression.holds(values)
    assert list(again.names()) == list(expression.names())


@given(st.text(max_size=200) | st.lists(st.sampled_from(PIECES)))
def test_any_text_is_an_expression_or_a_mistake(text: str | list[str]) -> None:
    """No text makes the parser fail in another way, or run anything."""
    with contextlib.suppress(BadExpression):
        parse_expression(text if isinstance(text, str) else " ".join(text))


@given(st.text("ab?*", max_size=12), st.text("ab?*", max_size=8))
def test_glob_is_that_of_the_shell(text: str, pattern: str) -> None:
    """``*`` and ``?`` match what they match in a shell."""
    assert glob(text, pattern) == bool(re.match(fnmatch.translate(pattern), text))


@given(STUDIES, EXPRESSIONS)
def test_not_is_the_opposite(study: dict[str, list[str]], expression: Expression) -> None:
    """An expression and its opposite never agree."""

    def values(name: str) -> list[str]:
        return study.get(name, [])

    assert Not(expression).holds(values) is not expression.holds(values)
