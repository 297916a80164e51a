"""YAML with lines: what is read, what is refused, and where it points."""

from pathlib import Path

import pytest

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.yaml_lines import dotted, load_with_lines


def _load(tmp_path: Path, text: str | bytes):
    path = tmp_path / "some.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_with_lines(path)


def _refusal(tmp_path: Path, text: str | bytes) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        _load(tmp_path, text)
    return caught.value


def test_lines_of_keys_and_items(tmp_path: Path) -> None:
    """Every key and every list item knows its line."""
    document = _load(tmp_path, "# a comment\na:\n  b: 1\n  c:\n    - x\n    - y\n")
    assert document.value == {"a": {"b": 1, "c": ["x", "y"]}}
    assert document.lines[("a", "b")] == 3
    assert document.lines[("a", "c", 1)] == 6
    assert document.line(("a", "nowhere", "at", "all")) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("on", "on"),
        ("true", True),
        ("0123", "0123"),
        ("12:30:45", "12:30:45"),
        ("2024-01-02", "2024-01-02"),
        ("-7", -7),
        ("0x10", 16),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1.2.840", "1.2.840"),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    """Words that YAML 1.1 would bend (NO, 0123, 12:30) stay what was written."""
    read = _load(tmp_path, f"key: {text}\n").value["key"]
    assert read == value
    assert type(read) is type(value)


def test_a_key_twice_is_an_error_that_names_both_lines(tmp_path: Path) -> None:
    """A repeated key is refused on its own line and names the first."""
    error = _refusal(tmp_path, "source:\n  port: 1\n  host: x\n  port: 2\n")
    assert (error.line, error.key) == (4, "source.port")
    assert "first on line 2" in str(error)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1,\n", 3, "not valid YAML"),
        ("a: *nothing\n", 1, "undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "tags"),
        ("a: !secret x\n", 1, "tags"),
        ("a: !!int x\n", 1, "not a number"),
        ("- a\n- b\n", 1, "key: value"),
        ("just words\n", 1, "key: value"),
        ("? [a, b]\n: 1\n", 1, "single word"),
        (b"a: 1\nb: \xff\n", 2, "UTF-8"),
        (b"a: \x01\n", None, "characters"),
        ("a: " + "[" * 5_000 + "\n", 1, "deeper"),
        ("a: &a [*a]\n", 1, "aliases"),
        (b"a: " + b"x" * 1_100_000, None, "larger"),
    ],
)
def test_what_is_not_plain_configuration_is_refused(
    tmp_path: Path, text: str | bytes, line: int | None, words: str
) -> None:
    """Broken, tagged, huge or endless files are refused in words, not with a traceback."""
    error = _refusal(tmp_path, text)
    assert error.line == line
    assert words in str(error)
    assert error.file == str(tmp_path / "some.yaml")


def test_aliases_cannot_blow_up(tmp_path: Path) -> None:
    """A billion laughs ends at the cap."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 9):
        before = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{before}]")
    assert "too large" in str(_refusal(tmp_path, "\n".join(lines)))


def test_an_alias_used_twice_is_fine(tmp_path: Path) -> None:
    """Plain anchors and aliases work."""
    document = _load(tmp_path, "a: &x {k: 1}\nb: *x\n")
    assert document.value == {"a": {"k": 1}, "b": {"k": 1}}


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml: cannot be read"):
        load_with_lines(tmp_path / "nowhere.yaml")


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    """An empty file and one of comments say nothing."""
    assert _load(tmp_path, "").value == {}
    assert _load(tmp_path, "# nothing\n").value == {}


def test_dotted() -> None:
    """Locations are written as people write them."""
    assert dotted(("destinations", "ehr", "list", 2, "x")) == "destinations.ehr.list[2].x"
