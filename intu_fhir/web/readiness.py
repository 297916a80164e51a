"""Whether a process can do its work, part by part."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.responses import JSONResponse, Response

from intu_fhir.app.wiring import App
from intu_fhir.db.session import Database, sqlite_folder
from intu_fhir.errors import IntuError

CHANGED = "changed since the start"


def readiness(
    app: App, database: Database, is_receiving: Callable[[], bool] | None
) -> Mapping[str, str]:
    """Return what has to be there, each with what is wrong with it."""
    site = app.configuration.site
    parts = {
        "database": _database(database),
        "files": _files(app, receives=is_receiving is not None),
    }
    folder = sqlite_folder(site.database)
    if folder is not None and not parts["database"]:
        parts["database"] = _space(app, folder)
    if is_receiving is not None:
        parts["receiver"] = "" if is_receiving() else "does not listen"
    if app.clock_watch.has_looked:
        parts["clock"] = app.clock_watch.fault
    return parts


def _database(database: Database) -> str:
    try:
        with database.read() as connection:
            connection.exec_driver_sql("SELECT 1")
    except IntuError:
        return "does not answer"
    return ""


def _files(app: App, *, receives: bool) -> str:
    """Judge the file store; a receiver has made its folders, which are gone with its disk."""
    site = app.configuration.site
    wrong = _space(app, site.files_folder, writes=receives)
    if not wrong and receives and isinstance(site.files, Path):
        is_there = (site.files / "instances").is_dir()
        return "" if is_there else "is not there: its folder is empty"
    return wrong


def _space(app: App, folder: Path, *, writes: bool = False) -> str:
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return f"cannot be reached: {error.strerror}"
    try:
        if writes:
            # Tells what flags do not: Linux 6.15 and later let ext4 refuse writes without them.
            os.utime(folder)
    except OSError as error:
        return f"cannot be written to: {error.strerror}"
    free = found.f_bavail * found.f_frsize
    return "too little space" if free < app.configuration.site.receiver.min_free_bytes else ""


def ready_response(parts: Mapping[str, str], *, is_changed: bool = False) -> Response:
    """Say whether all is there: 200, or 503 with the names of what is missing, never more.

    Args:
        is_changed: the configuration is another one since the start, which makes nobody unready.
    """
    wrong = any(parts.values())
    body = {"ready": not wrong, **{name: what or "ok" for name, what in parts.items()}}
    if is_changed:
        body["configuration"] = CHANGED
    return JSONResponse(body, 503 if wrong else 200)
