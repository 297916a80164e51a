"""A mapping file carries its own tests, and they can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from intu_fhir.build.examples import element_at, run_examples
from intu_fhir.errors import ConfigurationError
from intu_fhir.mappings import load_mapping

FILE = """extends: shipped
study:
  description: {converter: text, from: [RequestedProcedureDescription, StudyDescription]}
tests:
  - name: the order describes the study
    header: {StudyDescription: CT, RequestedProcedureDescription: Chest}
    expect: {description: Chest, "series[0].number": null, endpoint: null}
  - release: r4
    header: {BodyPartExamined: CHEST, SOPClassUID: 1.2.840.10008.5.1.4.1.1.4}
    expect:
      series[0].bodySite.code: "43799004"
      series[0].instance[0].sopClass.code: urn:oid:1.2.840.10008.5.1.4.1.1.4
"""


def _run(folder: Path, text: str) -> None:
    path = folder / "ours.yaml"
    path.write_text(text, encoding="utf-8")
    run_examples(load_mapping(path))


def test_examples_that_come_out(tmp_path: Path) -> None:
    """Examples that come out as they say pass, in every release they are for."""
    _run(tmp_path, FILE)


def test_shipped_mapping_has_no_failing_example() -> None:
    """The shipped mapping fulfils its own examples."""
    run_examples(load_mapping())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{description: Chest,", "{description: CT,", "5: tests[0]: the order describes the study"),
        ('"43799004"', '"1"', 'r4: series[0].bodySite.code is "43799004", not "1"'),
        ('number": null', 'number": 5', "series[0].number is absent, not 5"),
    ],
)
def test_examples_that_do_not(tmp_path: Path, old: str, new: str, words: str) -> None:
    """An example that comes out otherwise names its line, the element and both values."""
    assert old in FILE
    with pytest.raises(ConfigurationError) as caught:
        _run(tmp_path, FILE.replace(old, new))
    assert words in str(caught.value)


def test_examples_must_be_valid(tmp_path: Path) -> None:
    """A rule that makes an invalid resource fails its example."""
    text = FILE.replace("study:\n", "study:\n  status: {converter: fixed, value: final}\n")
    with pytest.raises(ConfigurationError, match="not valid: status"):
        _run(tmp_path, text)


@pytest.mark.parametrize(
    ("path", "value"), [("a", [{"b": 1}]), ("a[0].b", 1), ("a[1].b", None), ("x.y", None)]
)
def test_paths(path: str, value: object) -> None:
    """A path leads into objects and lists; what is not there is None."""
    assert element_at({"a": [{"b": 1}]}, path) == value
