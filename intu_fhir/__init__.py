"""DICOM in, FHIR ImagingStudy out, with a SQL database that knows the truth about every study."""
