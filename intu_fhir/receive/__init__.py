"""Step 1: DICOM arrives over the network."""
