"""Query results as JSON, CSV or Parquet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, TypeAlias

import orjson

from intu_fhir.errors import PermanentError

Rows: TypeAlias = Sequence[tuple[Any, ...]]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\0")
_JSON = orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


def readable(value: Any) -> Any:
    """Return a value that text formats can hold: bytes as hexadecimal, JSON as text."""
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (dict, list)):
        return orjson.dumps(value, default=str).decode()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="microseconds")
    return value


def _plain(value: Any) -> Any:
    """Return what JSON can hold; JSON inside stays JSON."""
    return value if isinstance(value, (dict, list)) else readable(value)


def harmless(value: Any) -> Any:
    """Return a CSV cell that a spreadsheet does not run as a formula (OWASP ASVS 5.0, 1.2.10)."""
    value = readable(value)
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def to_json(columns: Sequence[str], rows: Rows) -> bytes:
    """Write rows as a JSON array of objects."""
    names = unique_names(columns)
    objects = [
        {name: _plain(value) for name, value in zip(names, row, strict=True)} for row in rows
    ]
    return orjson.dumps(objects, default=str, option=_JSON) + b"\n"


def to_csv(columns: Sequence[str], rows: Rows) -> bytes:
    """Write rows as CSV (RFC 4180) in UTF-8."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow([harmless(name) for name in columns])
    writer.writerows([harmless(value) for value in row] for row in rows)
    return buffer.getvalue().encode()


def to_parquet(columns: Sequence[str], rows: Rows) -> bytes:
    """Write rows as an Apache Parquet file; times are timestamps in UTC from either database.

    Raises:
        PermanentError: pyarrow is not installed.
    """
    try:
        # Untyped and optional: looked up by name.
        pa: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise PermanentError("Parquet needs one more package; run: pip install pyarrow") from None
    arrays = [_array(pa, [row[index] for row in rows]) for index in range(len(columns))]
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, names=unique_names(columns)), sink)
    return sink.getvalue()


def _array(pa: Any, values: list[Any]) -> Any:
    """Return a column of one type; what SQLite mixes in a column becomes text."""
    plain = [readable(value) if isinstance(value, (dict, list)) else value for value in values]
    plain = _times(plain) or plain
    try:
        return pa.array(plain)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(readable(value)) for value in plain])


_STORED_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", re.ASCII)
"""How the staging database keeps times on SQLite, which has no type for them; always UTC."""


def _times(values: list[Any]) -> list[datetime | None] | None:
    """Return a column of times that SQLite gave as text, or None where it is no such column."""
    if not any(isinstance(value, str) for value in values):
        return None
    try:
        return [None if value is None else _time(value) for value in values]
    except ValueError:
        return None


def _time(value: Any) -> datetime:
    if not isinstance(value, str) or not _STORED_TIME.fullmatch(value):
        raise ValueError("not a time as stored")
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


def unique_names(columns: Iterable[str]) -> list[str]:
    """Number names that stand twice, so that no column is lost: ``a``, ``a_2``."""
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names


WRITERS: Mapping[str, Callable[[Sequence[str], Rows], bytes]] = {
    "json": to_json,
    "csv": to_csv,
    "parquet": to_parquet,
}
