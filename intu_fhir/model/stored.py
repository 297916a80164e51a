"""A stored instance, as far as its file is to be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the data set of an instance is.

    Args:
        file: path below the file store.
        data_set_offset: bytes in the file before the data set.
        is_there: whether its file was neither pruned nor found damaged.
    """

    sop_instance_uid: str
    transfer_syntax_uid: str
    file: str
    data_set_offset: int
    calling_ae_title: str
    is_there: bool
