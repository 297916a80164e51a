"""Why an address cannot be listened on, as people read it."""

from __future__ import annotations

_WHERE = " (while attempting to bind on address"
"""With this and the address ``socket.create_server`` goes on, which the message names already."""


def why_not_bound(error: Exception) -> str:
    """Return the system's reason for which no socket could be bound, without the address."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return said.partition(_WHERE)[0]
