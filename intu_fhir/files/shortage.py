"""What a system answers that could not look at a file, which says nothing of the file."""

from __future__ import annotations

import errno

# What goes by itself: too many open files, no memory, or no disk for the copy of what an object
# store has.
_SHORT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
# Who asks is not let in, or by a mount that is not the one of before.
_NOT_LET_IN = {errno.EACCES, errno.EPERM, errno.ESTALE}
_PASSING = frozenset(_SHORT | _NO_ROOM | _NOT_LET_IN)


def could_not_look(error: BaseException | None) -> bool:
    """Say whether an error says nothing of the file; anything else of a disk means damage."""
    return isinstance(error, OSError) and error.errno in _PASSING
