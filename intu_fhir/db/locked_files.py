"""Files beside an SQLite database that one process has at a time."""

from __future__ import annotations

import fcntl


def try_lock(descriptor: int) -> bool:
    """Have an open file to oneself until it is closed; False while another one has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
