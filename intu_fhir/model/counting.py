"""Counts with their noun, as people read them."""

from __future__ import annotations


def counted(count: int, one: str, more: str = "") -> str:
    """Write a count with its noun: ``1 instance``, ``2 instances``."""
    return f"{count} {one if count == 1 else more or one + 's'}"
