"""An upgrade of the schema that dies at a statement of one's choice."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import os, signal, sys
import sqlalchemy as sa
from intu_fhir.db.migrate import upgrade

left = int(sys.argv[2])

def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

sa.event.listen(sa.Engine, "before_cursor_execute", count)
upgrade(sys.argv[1])
"""


def upgrade_and_die(url: str, statement: int) -> bool:
    """Upgrade in a process that dies before its n-th statement; False where it had fewer."""
    code = [sys.executable, "-c", _CODE, url, str(statement)]
    return subprocess.run(code, check=False, timeout=110, capture_output=True).returncode == -9
