"""Query results in files: nothing is lost, nothing runs."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from rich.console import Console

from intu_fhir.app.exporting import to_csv, to_json, to_parquet, unique_names
from intu_fhir.cli.export import write_table

UID = "1.2.840." + "9" * 56
TIME = datetime(2024, 3, 1, 12, tzinfo=UTC)


def _csv(*rows: tuple[Any, ...]) -> list[list[str]]:
    names = [str(index) for index in range(len(rows[0]))]
    return list(csv.reader(io.StringIO(to_csv(names, rows).decode(), newline="")))[1:]


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\0=1"])
def test_a_formula_in_a_text_does_not_run(formula: str) -> None:
    """A text that a spreadsheet would run gets an apostrophe in front."""
    assert _csv((formula,)) == [[f"'{formula}"]]


def test_numbers_stay_numbers() -> None:
    """A negative number is no formula."""
    assert _csv((-1, -1.5, None, True)) == [["-1", "-1.5", "", "True"]]


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_csv_keeps_every_text(rows: list[tuple[str, str]]) -> None:
    """Quotes, commas and line breaks come back as they were."""
    read = _csv(*rows)
    assert [tuple(cell.removeprefix("'") for cell in row) for row in read] == [
        tuple(cell.removeprefix("'") for cell in row) for row in rows
    ]


def test_bytes_json_and_times_are_readable() -> None:
    """Binary becomes hexadecimal, JSON stays JSON, times are ISO."""
    row = (b"\x00\xff", {"a": [1]}, TIME)
    assert _csv(row) == [["00ff", '{"a":[1]}', "2024-03-01 12:00:00.000000+00:00"]]
    assert json.loads(to_json(["b", "j", "t"], [row])) == [
        {"b": "00ff", "j": {"a": [1]}, "t": "2024-03-01 12:00:00.000000+00:00"}
    ]


def test_columns_of_one_name_are_all_kept() -> None:
    """A name that stands twice is numbered."""
    assert unique_names(["a", "a", "a_2", "a"]) == ["a", "a_2", "a_2_2", "a_3"]
    assert json.loads(to_json(["a", "a"], [(1, 2)])) == [{"a": 1, "a_2": 2}]


def test_parquet_has_types_and_survives_mixed_columns() -> None:
    """Types are kept; a column that mixes them becomes text."""
    rows = [(1, "x", TIME, {"a": 1}, b"\x01"), ("two", None, None, None, None)]
    table = parquet.read_table(io.BytesIO(to_parquet(["m", "t", "d", "j", "b"], rows)))
    assert table.column("m").to_pylist() == ["1", "two"]
    assert table.column("t").to_pylist() == ["x", None]
    assert table.column("d").to_pylist() == [TIME, None]
    assert table.column("j").to_pylist() == ['{"a":1}', None]
    assert table.column("b").to_pylist() == [b"\x01", None]


def test_parquet_without_rows() -> None:
    """An empty result is a valid file with its columns."""
    assert parquet.read_table(io.BytesIO(to_parquet(["a"], []))).column_names == ["a"]


def test_times_of_sqlite_are_times_in_parquet() -> None:
    """Text in the form in which SQLite keeps times becomes a time; other text stays what it is."""
    stored = "2024-03-01 12:00:00.000000"
    rows = [(stored, stored, "20240301"), (None, "later", "20240302")]
    table = parquet.read_table(io.BytesIO(to_parquet(["time", "mixed", "date"], rows)))
    assert table.column("time").to_pylist() == [TIME, None]
    assert table.column("mixed").to_pylist() == [stored, "later"]
    assert table.column("date").to_pylist() == ["20240301", "20240302"]


@pytest.mark.parametrize("text", ["2024-13-01 12:00:00.000000", "2024-03-01", "2024-03-01 12:00"])
def test_what_only_looks_like_a_time_stays_text(text: str) -> None:
    """A date without a time, or one that is none, is not made into a time."""
    table = parquet.read_table(io.BytesIO(to_parquet(["t"], [(text,)])))
    assert table.column("t").to_pylist() == [text]


def _shown(width: int, names: list[str], rows: list[tuple[Any, ...]]) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    write_table(names, rows, console)
    return stream.getvalue().split("\n")[:-1]


@pytest.mark.parametrize("width", [72, 80, 110])
def test_a_table_that_does_not_fit_stands_below_itself(width: int) -> None:
    """On a narrow screen each row is a list, so that UIDs, times and names of columns are whole."""
    names = ["study_key", "study_instance_uid", "last_received_at", "note"]
    lines = _shown(width, names, [(1, UID, TIME, None), (2, "1.2", TIME, "short")])
    assert [line for line in lines if line.startswith("row")] == ["row 1", "row 2"]
    assert any(line.strip().endswith(UID) for line in lines)
    assert "  last_received_at    2024-03-01 12:00:00.000000+00:00" in lines
    assert "  note                short" in lines
    assert max(map(len, lines)) <= width


def test_a_table_that_fits_stays_a_table() -> None:
    """Few columns stand side by side."""
    assert _shown(80, ["modality", "n"], [("CT", 3), ("MR", 20)]) == [
        "modality   n",
        "CT         3",
        "MR        20",
    ]


def test_a_long_value_does_not_push_the_others_away() -> None:
    """Of a long text some lines are shown, and that there are more."""
    lines = _shown(80, ["resource", "state"], [("x" * 10_000, "valid")])
    assert lines[:2] == ["row 1", "  resource"]
    assert lines[-2:] == ["    …", "  state     valid"]
    assert len(lines) < 10
