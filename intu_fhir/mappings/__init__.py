"""The mapping from DICOM to FHIR as data: what is staged, what becomes what, by which codes."""

from intu_fhir.mappings.attributes import Level, staged_attributes

__all__ = ["Level", "staged_attributes"]
