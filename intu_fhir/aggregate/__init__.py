"""Step 3: instances become a study."""
