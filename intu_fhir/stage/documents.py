"""Reads stored documents, such as structured reports, with every digit and sequence they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from intu_fhir.errors import StoreUnavailable
from intu_fhir.files.store import FileStore
from intu_fhir.model.study import Instance
from intu_fhir.model.values import Values
from intu_fhir.stage.describe import INSTANCE, describe
from intu_fhir.stage.encodings import DEFAULT_LIMITS, Limits
from intu_fhir.stage.part10 import find_data_set

MAX_BYTES = 64 * 1024**2
"""A larger file is no report; nothing is read of it."""


@dataclass(frozen=True)
class Documents:
    """Returns raw values of stored instances by keyword.

    Args:
        keywords: the attributes to return; with a sequence comes everything inside it.
        character_sets: by calling AE title, what its text is really in.
    """

    files: FileStore
    keywords: Sequence[str]
    limits: Limits = DEFAULT_LIMITS
    character_sets: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, instance: Instance, senders: Sequence[str] = ()) -> Values:
        """Read one instance; nothing in its bytes makes this fail.

        Args:
            senders: AE titles of all who sent the study; their character set counts where they
                have the same.

        Raises:
            StoreUnavailable: its file cannot be read.
        """
        try:
            with self.files.file(instance.file).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise StoreUnavailable(
                f"The stored file of {instance.uid} cannot be read ({type(error).__name__}); "
                "restore it from a backup, or take dose and measurements out of publish"
            ) from error
        place = find_data_set(content)
        if place is None or len(content) > MAX_BYTES:
            return {}
        levels = dict.fromkeys(self.keywords, INSTANCE)
        syntax = place.transfer_syntax_uid or instance.transfer_syntax_uid
        sets = {self.character_sets.get(sender, "") for sender in senders}
        really = sets.pop() if len(sets) == 1 else ""
        return describe(content[place.offset :], syntax, levels, self.limits, really).instance
