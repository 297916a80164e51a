"""Programs of the system that some tests need."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

_MORE_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")


def require(program: str) -> str:
    """Return the path of a program, or skip the test with the reason ``needs PROGRAM``."""
    path = find(program)
    if path is None:
        missing(program)
    return path


def find(program: str) -> str | None:
    """Return the path of a program; servers such as ``Orthanc`` stand outside a user's PATH."""
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), *_MORE_FOLDERS))
    return shutil.which(program, path=folders)


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where ``INTU_CI=1`` says that everything has to be there."""
    reason = f"needs {what}"
    if os.environ.get("INTU_CI") == "1":
        pytest.fail(f"{reason}, which the gate has to install", pytrace=False)
    pytest.skip(reason)
