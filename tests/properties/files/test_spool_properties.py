"""A spool file holds what was written, however it was cut."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from intu_fhir.files.local import LocalFileStore

CUTS = st.lists(st.sampled_from([0, 1, 7, 4_096, 65_000, 65_530, 65_536, 131_072]), max_size=6)


@given(CUTS, st.binary(min_size=1, max_size=400))
def test_a_spool_file_is_its_head_and_all_that_was_written(sizes: list[int], head: bytes) -> None:
    """Whatever the sizes of the pieces, nothing is lost, doubled or moved, on disk or at hand."""
    with tempfile.TemporaryDirectory() as folder:
        files = LocalFileStore(Path(folder))
        spool = files.open_spool(head)
        written = b""
        for number, size in enumerate(sizes):
            piece = bytearray([number + 1]) * size
            spool.write(memoryview(piece))
            piece[:] = bytes(size)  # the caller's buffer is used again
            written += bytes([number + 1]) * size
        done = spool.finish()
        assert done.path.read_bytes() == head + written
        assert (done.data_set_offset, done.size) == (len(head), len(written))
        assert done.sha256 == hashlib.sha256(written).hexdigest()
        assert done.data_set in (None, written)
        if len(written) <= 65_000:
            assert done.data_set == written
        files.close()
