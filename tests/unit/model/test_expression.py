"""The language of ``only.where``: what it says yes to, and how it complains."""

from __future__ import annotations

import pytest

from intu_fhir.model.expression_text import MAX_DEPTH, BadExpression, parse_expression

STUDY = {
    "Modality": ["CT", "SR"],
    "StudyDescription": ["Thorax (test)"],
    "ImageType": ["ORIGINAL\\PRIMARY\\AXIAL"],
    "SliceThickness": ["1.25", "5"],
    "StudyDate": ["20240229"],
    "0019xx10:ACME": ["7"],
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("Modality = CT", True),
        ("Modality == 'CT'", True),
        ("Modality = ct", False),
        ("Modality != CT", False),
        ("Modality != MR", True),
        ("Modality in (MR, SR)", True),
        ("Modality not in (MR, US)", True),
        ("every Modality = CT", False),
        ("every Modality in (CT, SR)", True),
        ('StudyDescription like "thorax*"', True),
        ('StudyDescription like "*(T?st)"', True),
        ('StudyDescription not like "*test*"', False),
        ("ImageType = AXIAL", True),
        ("SliceThickness < 2", True),
        ("every SliceThickness < 2", False),
        ("SliceThickness >= 5.0", True),
        ("StudyDate > 20231231", True),
        ("has StudyDescription", True),
        ("has AccessionNumber", False),
        ("not has AccessionNumber", True),
        ("AccessionNumber = ''", False),
        ("AccessionNumber != A", True),
        ("[0019xx10:ACME] = 7", True),
        ("Modality = MR or Modality = CT and StudyDate = 20240229", True),
        ("(Modality = CT or Modality = MR) and StudyDate = 19000101", False),
        ("not (Modality = CT and Modality = SR)", False),
        ("not not Modality = CT", True),
    ],
)
def test_what_holds(text: str, holds: bool) -> None:
    """Each operator means what the page says of it."""
    assert parse_expression(text).holds(lambda name: STUDY.get(name, ())) is holds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an attribute such as Modality expected at character 1, not the end"),
        ("Modality", "a comparison"),
        ("Modality = ", "a value"),
        ("Modality = CT MR", "`and`, `or` or the end expected at character 15, not `MR`"),
        ("Modality in CT", "`(` expected at character 13"),
        ("Modality in (CT", "`)` expected"),
        ("(Modality = CT", "`)` expected"),
        ("Modality not = CT", "`in` or `like`"),
        ("Modality = CT and", "an attribute"),
        ('Modality = "CT', "cannot be read from character 12 on"),
        ("__import__('os').system('x')", "a comparison"),
        ("not " * (MAX_DEPTH + 1) + "has Modality", "nested deeper"),
        ("(" * 5_000 + "has Modality" + ")" * 5_000, "longer than"),
    ],
)
def test_what_is_no_expression(text: str, words: str) -> None:
    """A mistake is told with its place and what should stand there."""
    with pytest.raises(BadExpression) as caught:
        parse_expression(text)
    assert words in str(caught.value)


def test_the_names_of_an_expression() -> None:
    """Every attribute that is asked for is known beforehand."""
    expression = parse_expression("not (A = 1 and has B) or every C in (x) or [0019xx10:X Y] > 1")
    assert list(expression.names()) == ["A", "B", "C", "0019xx10:X Y"]
