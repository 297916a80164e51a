"""Whatever stands in a configuration file, the answer is a configuration or words."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.mistakes import each_mistake
from intu_fhir.settings.yaml_lines import load_with_lines

KEYS = ["database", "files", "destinations", "receiver", "retry", "type", "port", "auth", "x"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(["fhir", "dicom", "${env:X}", "${file:y}", "$${z}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.binary(max_size=200))
def test_any_file_is_read_or_refused_in_words(content: str | bytes) -> None:
    """No content of a file makes the loader fail in another way."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "intu.yaml"
        file.write_bytes(
            content.encode("utf-8", "replace") if isinstance(content, str) else content
        )
        with contextlib.suppress(ConfigurationError):
            load_with_lines(file)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
def test_any_mapping_loads_or_every_mistake_has_file_and_line(content: dict[str, object]) -> None:
    """Whatever the keys and values, each mistake names its file and a line that exists."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "intu.yaml"
        text = yaml.safe_dump(content, allow_unicode=False)
        file.write_text(text)
        for mistake in _mistakes(Path(folder)):
            assert mistake.file == str(file.resolve())
            assert mistake.line is not None
            assert 1 <= mistake.line <= text.count("\n") + 1


def _mistakes(folder: Path) -> tuple[ConfigurationError, ...]:
    try:
        load_configuration(folder, {})
    except ConfigurationError as error:
        return each_mistake(error)
    return ()


@given(st.dictionaries(st.text(max_size=8), PLAIN, max_size=5))
def test_what_was_written_is_what_is_read(content: dict[str, object]) -> None:
    """Quoted text, numbers, lists and mappings come back as they were."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "some.yaml"
        file.write_text(yaml.safe_dump(content, default_style='"', allow_unicode=False))
        assert load_with_lines(file).value == content


@pytest.mark.parametrize("value", ["NO", "1e5", "0x1F", "~", "2024-01-01", "1:30", "<<", "=", "!"])
def test_quoted_words_stay_text(value: str, tmp_path: Path) -> None:
    """In quotes everything is text."""
    (tmp_path / "some.yaml").write_text(f"key: '{value}'\n")
    assert load_with_lines(tmp_path / "some.yaml").value == {"key": value}
