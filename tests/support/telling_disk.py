"""A disk that loses writes and tells of it as Linux does (``errseq_t``, since 4.13).

A loss is told once to each descriptor that was open when it happened. To one that is opened later
it is told only if nobody has heard of it yet; and it is forgotten with the last descriptor.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_Node = tuple[int, int]


@dataclass
class TellingDisk:
    """Stands before ``os.open``, ``os.fsync`` and ``os.close``."""

    losses: dict[_Node, int] = field(default_factory=dict)
    heard: set[_Node] = field(default_factory=set)
    _open: dict[int, tuple[_Node, int]] = field(default_factory=dict)

    def lose(self, path: Path) -> None:
        """Let what was written to a file or a directory be lost just now."""
        node = _node(os.stat(path))
        self.losses[node] = self.losses.get(node, 0) + 1
        self.heard.discard(node)

    def opened(self, descriptor: int) -> None:
        """Note what a new descriptor will be told."""
        node = _node(os.fstat(descriptor))
        known = self.losses.get(node, 0)
        self._open[descriptor] = (node, known if node in self.heard else max(known - 1, 0))

    def told(self, descriptor: int) -> None:
        """Tell a descriptor what was lost."""
        node, known = self._open[descriptor]
        lost = self.losses.get(node, 0)
        if lost > known:
            self._open[descriptor] = (node, lost)
            self.heard.add(node)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def closed(self, descriptor: int) -> None:
        """Forget a descriptor, and with the last one the losses."""
        node, _ = self._open.pop(descriptor, ((0, 0), 0))
        if all(other != node for other, _ in self._open.values()):
            self.losses.pop(node, None)
            self.heard.discard(node)

    @contextmanager
    def in_place(self) -> Iterator[TellingDisk]:
        """Stand there while inside."""
        really_open, really_sync, really_close = os.open, os.fsync, os.close

        def open_(*given: Any, **named: Any) -> int:
            descriptor = really_open(*given, **named)
            self.opened(descriptor)
            return descriptor

        def sync(descriptor: int) -> None:
            really_sync(descriptor)
            self.told(descriptor)

        def close(descriptor: int) -> None:
            self.closed(descriptor)
            really_close(descriptor)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", open_)
            patch.setattr(os, "fsync", sync)
            patch.setattr(os, "close", close)
            yield self


def _node(found: os.stat_result) -> _Node:
    return found.st_dev, found.st_ino
