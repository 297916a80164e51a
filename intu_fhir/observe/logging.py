"""Logs: one line per unit of work, of fields that are allowed by name.

What is not on the list does not get out, so no patient data can slip in with a new call.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

ALLOWED = frozenset(
    {
        "event", "level", "timestamp", "logger",
        "step", "study", "series", "instance", "destination", "generation", "result", "status",
        "error", "where", "reason", "worker", "channel", "association", "calling_ae_title",
        "called_ae_title", "peer", "port", "tls", "duration", "count", "stored", "already_stored",
        "quarantined", "refused", "version", "file", "line", "key", "stopped", "left",
        "detail", "answer", "unfinished",
        "database", "files", "sop_class", "transfer_syntax", "bytes", "limit", "attempt",
        "person", "http_status", "page",
    }
)  # fmt: skip
MAX_LENGTH = 500
_SILENT = ("pydicom", "pynetdicom", "httpx", "httpcore")
"""Libraries whose records may hold values of the data set, or patients in URLs."""


def _only_allowed(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop fields that are not on the list, and make every value one short printable line."""
    return {key: printable(value) for key, value in event.items() if key in ALLOWED}


def _ours_only_allowed(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    ours = str(getattr(logger, "name", "")).startswith("intu_fhir")
    return _only_allowed(logger, method, event) if ours else event


def printable(value: Any) -> Any:
    """Return a number as it is, and anything else as one line of bounded length."""
    if isinstance(value, (int, float)) or value is None:
        return value
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return line if len(line) <= MAX_LENGTH else line[:MAX_LENGTH] + "..."


class _Lines(structlog.PrintLogger):
    """Writes lines as far as it can: a full disk under a log file must not stop the work."""

    def msg(self, message: str) -> None:
        """Write one line, or drop it."""
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def configure_logging(*, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send our events to standard error: readable on a terminal, JSON elsewhere.

    Libraries speak from WARNING on; pydicom's warnings and pynetdicom's records stay out, since
    they may hold values of the data set.
    """
    out = stream or sys.stderr
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=True, sort_keys=False)
        if out.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _only_allowed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
        ),
        # Standard error is looked up line by line: who has set it anew has closed the old one.
        logger_factory=lambda *_: _Lines(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def join_logging() -> None:
    """Let our events go where those of the program around us go, with the same list of fields.

    For a program that has set structlog up for itself, such as a task of Airflow.
    """
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it speaks at each start of a task
    processors = structlog.get_config()["processors"]
    if _ours_only_allowed not in processors:
        structlog.configure(processors=[_ours_only_allowed, *processors])
