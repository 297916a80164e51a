"""Who uses the command line."""

from __future__ import annotations

import getpass


def login() -> str:
    """Return the name of the user who is logged in, for what is recorded of a person's doing."""
    try:
        return getpass.getuser()[:64]
    except (KeyError, OSError):  # a container may run under a number that has no name
        return "unknown"
