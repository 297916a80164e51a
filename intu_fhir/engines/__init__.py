"""Where and when the pipeline runs, never what it does."""
