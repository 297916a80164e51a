"""What is changed in headers on the way to a PACS."""

from __future__ import annotations

from typing import Annotated, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.valuerep import validate_value

from intu_fhir.settings.base import Settings

_TEXT = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM"})
_ONE_VALUE = frozenset({"LT", "ST"})
_KEPT = frozenset(
    {
        "SpecificCharacterSet",
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
    }
)
_PIXELS = 0x0028
_FIRST_GROUP, _BEHIND_HEADER = 0x0008, 0x7FE0


def _editable(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no DICOM keyword")
    group = tag >> 16
    if keyword in _KEPT or group == _PIXELS or not _FIRST_GROUP <= group < _BEHIND_HEADER:
        raise ValueError(f"{keyword} cannot be edited: it says which image it is or how it is read")
    return keyword


def _values(values: dict[str, str]) -> dict[str, str]:
    for keyword, value in values.items():
        vr = dictionary_VR(keyword)
        if vr not in _TEXT:
            raise ValueError(f"{keyword} ({vr}) cannot be set, only removed: it holds no text")
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"{keyword}: only printable ASCII is the same in all character sets")
        for one in [value] if vr in _ONE_VALUE else value.split("\\"):
            validate_value(vr, one, RAISE)  # raises ValueError with words that name the rule
    return values


Keyword: TypeAlias = Annotated[str, AfterValidator(_editable)]


class Edits(Settings):
    """Changes to headers on the way to a PACS; what is stored and staged stays as it is."""

    set: Annotated[dict[Keyword, str], AfterValidator(_values)] = Field(default_factory=dict)
    """Value by DICOM keyword, whether there was one or not; a backslash stands between several."""
    remove: tuple[Keyword, ...] = ()
    """DICOM keywords of what is left out."""

    @model_validator(mode="after")
    def _either(self) -> Self:
        both = sorted(self.set.keys() & {*self.remove})
        if both:
            raise ValueError(f"{both[0]} is both set and removed")
        return self

    def by_tag(self) -> dict[int, tuple[str, str] | None]:
        """Return VR and value by tag; None = it is removed."""
        values: dict[int, tuple[str, str] | None] = {
            _tag(keyword): (dictionary_VR(keyword), value) for keyword, value in self.set.items()
        }
        return values | {_tag(keyword): None for keyword in self.remove}


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, "a validated keyword has a tag"
    return tag
