"""Step 4: a study becomes FHIR."""
