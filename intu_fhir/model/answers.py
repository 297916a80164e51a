"""What a destination answered, as people read it."""

from __future__ import annotations


def status_beside(status: str, words: str) -> str:
    """Return the status to stand before the words of an outcome; empty where they begin with it."""
    return "" if status and words.startswith((status, f"HTTP {status}")) else status
