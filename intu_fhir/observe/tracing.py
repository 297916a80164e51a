"""Traces: what is told of a piece of work while it runs, and by which it is found again later.

Steps run in other threads, processes and weeks than the association that brought a study. What
joins them is the ``traceparent`` of W3C Trace Context, kept as text with the rows of staging.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, TypeAlias

Attribute: TypeAlias = str | int | float | bool


class Span(Protocol):
    """One piece of work that is traced."""

    @property
    def trace_parent(self) -> str:
        """What leads to it (``traceparent``, W3C Trace Context level 1, 3.2); empty = nothing."""
        ...

    def end(self, *, is_well: bool = True, **attributes: Attribute) -> None:
        """Say that it ended, and how; what never ends is not told."""
        ...


class Tracing(Protocol):
    """Where traces go."""

    @property
    def is_on(self) -> bool:
        """Say whether they go anywhere."""
        ...

    def begin(
        self,
        name: str,
        *,
        parent: str = "",
        links: Sequence[str] = (),
        at: datetime | None = None,
        **attributes: Attribute,
    ) -> Span:
        """Say that a piece of work began.

        Args:
            parent: ``Span.trace_parent`` of what led to it; empty = it begins a trace.
            links: the same of what else led to it.
            at: when it began; None = now.
            attributes: of the fields that logs may have; others are left out.
        """
        ...

    def stop(self) -> None:
        """Send what is there, in bounded time, and end."""
        ...


class _NoSpan:
    """What is traced nowhere."""

    trace_parent = ""

    def end(self, *, is_well: bool = True, **attributes: Attribute) -> None:
        """Do nothing."""


class _NoTracing:
    """Traces nothing, and costs nothing."""

    is_on = False

    def begin(
        self,
        name: str,
        *,
        parent: str = "",
        links: Sequence[str] = (),
        at: datetime | None = None,
        **attributes: Attribute,
    ) -> Span:
        """Return what does nothing."""
        return _NO_SPAN

    def stop(self) -> None:
        """Do nothing."""


_NO_SPAN = _NoSpan()
NO_TRACING: Tracing = _NoTracing()
