"""What is installed besides, where it is wanted."""

from __future__ import annotations


def install(extra: str) -> str:
    """Return what to run for an extra: it comes with the checkout, since no index has it."""
    return f"`pip install '.[{extra}]'` in the checkout"
