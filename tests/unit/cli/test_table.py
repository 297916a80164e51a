"""Tables fit the screen, keep UIDs whole and cannot be steered by what they show."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from intu_fhir.cli.table import Column, show_table

Row = tuple[str, str, str]
UID = "1.2.840." + "9" * 56

COLUMNS: list[Column[Row]] = [
    Column("STATE", lambda row: row[0]),
    Column("NAME", lambda row: row[1], shrinks=True),
    Column("NOTE", lambda row: row[2], shrinks=True, optional=True),
]
BELOW: list[Column[Row]] = [Column("UID", lambda row: UID)]


def _shown(rows: list[Row], width: int, *, terminal: bool = True) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, color_system=None)
    show_table(console, rows, COLUMNS, below=BELOW)
    return stream.getvalue().split("\n")[:-1]


def test_one_line_where_everything_fits() -> None:
    """A wide screen shows the UID beside its row."""
    assert _shown([("held", "Ann", "note")], 120) == [
        "STATE  NAME  NOTE  UID",
        f"held   Ann   note  {UID}",
    ]


def test_the_uid_goes_below_where_it_does_not_fit() -> None:
    """A narrow screen shows the UID whole, below its row."""
    assert _shown([("held", "Ann", "note")], 70) == [
        "STATE  NAME  NOTE",
        "held   Ann   note",
        f"  {UID}",
    ]


def test_wide_texts_are_cut_then_optional_columns_go() -> None:
    """Long texts shrink; what is still too much leaves the optional column out."""
    rows = [("held", "N" * 100, "x" * 100)]
    assert _shown(rows, 70)[1] == f"held   {'N' * 29}…  {'x' * 30}…"
    assert _shown(rows, 30)[:2] == ["STATE  NAME", f"held   {'N' * 22}…"]


def test_plain_text_keeps_everything() -> None:
    """Where there is no terminal nothing is cut."""
    lines = _shown([("held", "N" * 100, "x" * 100)], 40, terminal=False)
    assert lines[1] == f"held   {'N' * 100}  {'x' * 100}  {UID}"


def test_nothing_received_reaches_the_terminal_raw() -> None:
    """Escape sequences, line breaks and direction marks are shown as replacement characters."""
    lines = _shown([("held", "a\x1b[2Jb\nc\u202ed\x07", "")], 100)
    assert lines[1].split("  ")[1].strip() == "a�[2Jb�c�d�"
    assert len(lines) == 2


@given(
    rows=st.lists(st.tuples(*[st.text(max_size=60)] * 3), max_size=5),
    width=st.integers(60, 200),
)
def test_no_line_is_wider_than_the_screen(rows: list[Row], width: int) -> None:
    """Whatever is received, each line fits and each row has its lines."""
    rows = [("state", name, note) for _, name, note in rows]
    lines = _shown(rows, width)
    uid_lines = [line for line in lines if UID in line]
    assert len(uid_lines) == len(rows)
    for line in lines:
        assert cell_len(line) <= max(width, len(UID) + 2)
