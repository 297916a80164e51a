"""Which column shows which attribute, by DICOM keyword."""

from __future__ import annotations

from collections.abc import Mapping

STUDY_COLUMNS: Mapping[str, str] = {
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "accession_number": "AccessionNumber",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "study_description": "StudyDescription",
    "study_id": "StudyID",
    "referring_physician_name": "ReferringPhysicianName",
}
SERIES_COLUMNS: Mapping[str, str] = {
    "modality": "Modality",
    "series_number": "SeriesNumber",
    "series_description": "SeriesDescription",
    "series_date": "SeriesDate",
    "series_time": "SeriesTime",
    "body_part_examined": "BodyPartExamined",
    "laterality": "Laterality",
    "manufacturer": "Manufacturer",
    "manufacturer_model_name": "ManufacturerModelName",
    "station_name": "StationName",
    "performing_physician_name": "PerformingPhysicianName",
    "operators_name": "OperatorsName",
}
INSTANCE_COLUMNS: Mapping[str, str] = {
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "modality": "Modality",
    "series_number": "SeriesNumber",
    "instance_number": "InstanceNumber",
    "number_of_frames": "NumberOfFrames",
}
