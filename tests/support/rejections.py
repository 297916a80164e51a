"""Rejection notes: key object selections that take images out (IHE RAD IOCM)."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import KeyObjectSelectionDocumentStorage

from tests.support.studies import make_instance, uid


def _item(**values: Any) -> Sequence:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return Sequence([item])


def rejection_note(code: str, *rejected: str, number: int = 1) -> Dataset:
    """Return a key object selection that rejects instances (PS3.16 CID 7011, IHE IOCM)."""
    note = make_instance(series=99, number=number, Modality="KO", BodyPartExamined=None)
    note.SOPClassUID = KeyObjectSelectionDocumentStorage
    note.ConceptNameCodeSequence = _item(
        CodeValue=code, CodingSchemeDesignator="DCM", CodeMeaning="Rejected"
    )
    series = _item(
        SeriesInstanceUID=uid("study", 1),
        ReferencedSOPSequence=Sequence([_reference(one) for one in rejected]),
    )
    note.CurrentRequestedProcedureEvidenceSequence = _item(
        StudyInstanceUID=uid("study"), ReferencedSeriesSequence=series
    )
    for name in ("PixelData", "Rows", "Columns"):
        del note[name]
    return note


def _reference(instance: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = make_instance().SOPClassUID
    reference.ReferencedSOPInstanceUID = instance
    return reference
