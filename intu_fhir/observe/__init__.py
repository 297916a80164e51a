"""Clock, logs and metrics."""
