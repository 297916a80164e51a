"""The mapping from DICOM to FHIR as data: what is staged, what becomes what, by which codes."""

from intu_fhir.mappings.attributes import (
    Level,
    attributes_at,
    levels_digest,
    staged_attributes,
)
from intu_fhir.mappings.elements import Release
from intu_fhir.mappings.load import (
    Mapping,
    acquisition_modalities,
    attributes_of,
    load_mapping,
    of_another_release,
)

__all__ = [
    "Level",
    "Mapping",
    "Release",
    "acquisition_modalities",
    "attributes_at",
    "attributes_of",
    "levels_digest",
    "load_mapping",
    "of_another_release",
    "staged_attributes",
]
