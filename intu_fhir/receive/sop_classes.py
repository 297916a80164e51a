"""Which abstract and transfer syntaxes a channel takes: the standard's own lists.

pynetdicom's table holds the current storage classes, pydicom's dictionary the retired ones and
those of DICOS and DICONDE, which older and industrial equipment still sends.
"""

from __future__ import annotations

import re

from pydicom._uid_dict import UID_dictionary
from pynetdicom.sop_class import _STORAGE_CLASSES

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class (PS3.4 J.3)."""
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The one instance of that class (PS3.4 J.3.5)."""
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
UNCOMPRESSED_SYNTAXES = frozenset(
    {IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
)
"""For data sets without pixels."""

# Storage of objects that have no patient, no study, or live on media only.
_NOT_STUDY_CONTENT = re.compile(
    r"Storage Commitment|Media Storage Directory|Protocol Approval|Defined Procedure Protocol|"
    r"Inventory|Hanging Protocol|Color Palette|Implant"
)
_STORAGE_NAME = re.compile(r"\bStorage\b")

# Encodings of something other than the data set of a C-STORE: MIME, XML, live video streams.
_NOT_OF_A_DATA_SET = re.compile(r"1\.2\.840\.10008\.1\.2\.(?:6|7)\.\d+")


def _is_storage(name: str, kind: str) -> bool:
    return (
        kind == "SOP Class"
        and _STORAGE_NAME.search(name) is not None
        and _NOT_STUDY_CONTENT.search(name) is None
    )


STORAGE_CLASSES = frozenset(str(uid) for uid in _STORAGE_CLASSES.values()) | {
    uid for uid, (name, kind, *_) in UID_dictionary.items() if _is_storage(name, kind)
}
"""SOP classes of the Storage Service Class (PS3.4 B.5), retired ones included."""

TRANSFER_SYNTAXES = frozenset(
    uid
    for uid, (_, kind, *_rest) in UID_dictionary.items()
    if kind == "Transfer Syntax" and _NOT_OF_A_DATA_SET.fullmatch(uid) is None
)
"""Transfer syntaxes that a data set may come in (PS3.5 section 10, PS3.6 annex A)."""
