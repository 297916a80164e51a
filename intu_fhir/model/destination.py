"""Where a destination stands as a whole, in words that lists and the database share."""

from __future__ import annotations

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
"""States of a breaker."""

UP, PAUSED, DOWN, RECOVERING = "up", "paused", "down", "recovering"
"""States of a destination, as lists show them."""
