"""Reads a stored file again before anybody is told that it is safe."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing

from intu_fhir.db.commitments import Unchecked
from intu_fhir.errors import DamagedFile, StoreUnavailable, UnknownKey
from intu_fhir.files.digest import digest_of_blocks
from intu_fhir.files.shortage import could_not_look
from intu_fhir.files.store import FileStore
from intu_fhir.model.commitment import FailureReason
from intu_fhir.stage.part10 import find_data_set, with_head


class Promise:
    """Compares stored files with what was received.

    Args:
        beat: called between two pieces of a file.
    """

    def __init__(self, files: FileStore, beat: Callable[[], None]) -> None:
        self._files, self._beat = files, beat

    def failure(self, one: Unchecked, file: str) -> FailureReason | None:
        """Read a file; return why it cannot be promised, or None (PS3.3 C.14.1.1).

        Raises:
            StoreUnavailable: the store does not answer, or is not mounted, or this machine lacks
                the key of the file, which says nothing of it.
            StaleClaim: of ``beat``.
        """
        try:
            is_same = self._is_same(one, file)
        except UnknownKey as error:
            raise StoreUnavailable(str(error)) from error
        except (OSError, StoreUnavailable, DamagedFile) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if isinstance(error, StoreUnavailable) and not isinstance(cause, OSError):
                raise
            if could_not_look(cause):
                return FailureReason.RESOURCE_LIMITATION
            if isinstance(cause, FileNotFoundError):
                self._files.ask()  # a store that is down says nothing of any file
            is_same = False
        return None if is_same else FailureReason.PROCESSING_FAILURE

    def _is_same(self, one: Unchecked, file: str) -> bool:
        """Compare both parts: by its head a reader finds the data set, and knows its syntax.

        The bytes are taken as they come, also from an object store: before a large object is
        here as a whole, others would take the request for one that nobody works at.
        """
        with closing(self._blocks(file)) as blocks:
            head, whole = with_head(blocks)
            if not _fits(head, one):
                return False
            found = digest_of_blocks(whole, one.data_set_offset or 0)
            return found == one.sha256

    def _blocks(self, file: str) -> Generator[bytes, None, None]:
        for block in self._files.blocks(file):
            self._beat()
            yield block


def _fits(head: bytes, one: Unchecked) -> bool:
    """Say whether preamble and meta information of a file say what was received (PS3.10 7.1)."""
    place = find_data_set(head)
    return (
        place is not None
        and place.is_of(one.data_set_offset, one.sop_instance_uid, one.transfer_syntax_uid)
        and place.sop_class_uid in {"", one.sop_class_uid}
    )
