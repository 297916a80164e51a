"""Files that were sealed for the object store, on a machine that has not their key."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import BinaryIO, Literal

from intu_fhir.deliver.dicom import LOCKED_FILE
from intu_fhir.demo.pacs import StandInPacs
from intu_fhir.files.sealing import SALT_BYTES, read_keys, seal, unseal
from intu_fhir.model.outcome import Dead
from tests.support.outgoing import Sending, outgoing_study, path_of


class Sealed:
    """A sealed file that is opened without keys.

    Args:
        key: file of the key that sealed it.
    """

    def __init__(self, path: Path, key: Path) -> None:
        keys = read_keys([key])
        assert keys is not None
        with path.open("rb") as file:
            self._blocks = list(seal(file, keys, bytes(SALT_BYTES), path.name))
        self._name = path.name

    def open(self, _: Literal["rb"], /) -> BinaryIO:
        """Open it as the file store does."""
        return io.BytesIO(b"".join(unseal(iter(self._blocks), None, self._name)))


def test_a_file_whose_key_is_not_here_is_not_called_damaged(tmp_path: Path) -> None:
    """The others go on; a person is told which key files to add, and the bytes stay trusted."""
    (tmp_path / "key").write_text("7" * 64)
    objects = outgoing_study(tmp_path / "out", 3)
    sealed = Sealed(path_of(objects[1]), tmp_path / "key")
    objects[1] = dataclasses.replace(objects[1], file=sealed)
    with StandInPacs(tmp_path / "pacs") as pacs:
        sending = Sending(pacs.port)
        outcome = sending.send(objects)
        assert len(pacs.instances) == 2
    assert [answer.status for answer in sending.answers] == ["0000", LOCKED_FILE, "0000"]
    assert isinstance(outcome, Dead)
    assert "object_store.key_files" in outcome.detail
