"""Files that had to go and could not, because the disk failed just then."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from intu_fhir.errors import StoreUnavailable

MOST = 64
"""So many may be left before nothing more is taken."""


class Leftovers:
    """Removes files; what cannot be removed now is tried again before anything new is taken.

    Nothing waits for that, and no answer to a sender hangs on it. A process that ends first leaves
    such a file to ``recover``.
    """

    def __init__(self) -> None:
        self._gone: dict[str, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._gone)

    def remove(self, path: str, then: Callable[[], None] = lambda: None) -> None:
        """Remove a file and do something then; a file that is gone already is fine.

        Raises:
            OSError: it could not be removed; it is tried again.
        """
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError:
            self._gone[path] = then
            raise
        self._gone.pop(path, None)
        then()

    def clear(self) -> None:
        """Try again.

        Raises:
            StoreUnavailable: too many are left; a disk that does not let go is given no more.
        """
        for path, then in list(self._gone.items()):
            with contextlib.suppress(OSError):
                self.remove(path, then)
        if len(self._gone) >= MOST:
            raise StoreUnavailable(
                f"{len(self._gone)} files cannot be removed from the file store; mend the disk, or "
                "let this user remove them"
            )
