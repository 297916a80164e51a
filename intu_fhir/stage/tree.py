"""Puts the elements of a data set into the order of its sequences and items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from intu_fhir.stage.elements import ITEM, Element, is_walked

MAX_NODES = 50_000
"""Elements kept below one element of the top level; functional groups of thousands of frames
have more, and are of no use to a reader of headers."""

MAX_TOTAL_NODES = 100_000
"""Elements kept of one data set; bounds the memory and time that a hostile one takes."""


@dataclass(slots=True)
class Node:
    """One element with the items below it, ``None`` where it is no sequence.

    Args:
        cut: there is more of it than is kept, so nothing is.
    """

    element: Element
    items: list[list[Node]] = field(default_factory=list)
    cut: bool = False


def nodes(elements: Iterator[Element]) -> Iterator[Node]:
    """Yield the elements of the top level, each with everything below it.

    After ``MAX_TOTAL_NODES`` one more is yielded, marked as cut, and that is the end.

    Raises:
        InvalidDataSet: from ``elements``; nodes yielded before are sound.
    """
    tree: _Tree | None = None
    left = MAX_TOTAL_NODES
    for element in elements:
        if element.depth and tree:
            tree.add(element)
            continue
        if tree:
            left -= tree.kept
            yield tree.top
        left -= 1
        top = Node(element, cut=left < 0)
        if top.cut:
            yield top
            return
        tree = _Tree(top, left) if is_walked(element) else None
        if tree is None:
            yield top
    if tree:
        yield tree.top


def items_below(top: Node, elements: Iterator[Element]) -> Node:
    """Return ``top`` with the items that ``elements`` are made of."""
    tree = _Tree(top, MAX_NODES)
    for element in elements:
        tree.add(element)
    return top


class _Tree:
    """One node while what is below it arrives."""

    def __init__(self, top: Node, left: int) -> None:
        self.top = top
        self.kept = 0
        self._most = min(MAX_NODES, left)
        self._base = top.element.depth
        self._open: list[list[Node]] = []

    def add(self, element: Element) -> None:
        """Place an element; ``_open`` holds the current item of each depth."""
        if self.top.cut or self.kept >= self._most:
            self.top.cut, self.top.items, self.kept = True, [], 0
            return
        self.kept += 1
        depth = element.depth - self._base
        if element.tag != ITEM:
            del self._open[depth:]
            self._open[-1].append(Node(element))
            return
        del self._open[depth - 1 :]
        parent = self._open[-1][-1] if self._open else self.top
        parent.items.append([])
        self._open.append(parent.items[-1])
