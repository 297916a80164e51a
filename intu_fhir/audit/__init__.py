"""The audit trail in the words of the standards: FHIR AuditEvent, DICOM audit message."""
