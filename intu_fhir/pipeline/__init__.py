"""What moves a study from step to step."""
