"""Puts the elements of a data set into the order of its sequences and items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from intu_fhir.stage.elements import ITEM, Element, is_walked

MAX_NODES = 50_000
"""Elements kept below one element of the top level; functional groups of thousands of frames
have more, and are of no use to a reader of headers."""


@dataclass(slots=True)
class Node:
    """One element with the items below it, ``None`` where it is no sequence.

    Args:
        cut: there was more below it than is kept.
    """

    element: Element
    items: list[list[Node]] = field(default_factory=list)
    cut: bool = False


def nodes(elements: Iterator[Element]) -> Iterator[Node]:
    """Yield the elements of the top level, each with everything below it.

    Raises:
        InvalidDataSet: from ``elements``; nodes yielded before are sound.
    """
    tree: _Tree | None = None
    for element in elements:
        if element.depth and tree:
            tree.add(element)
            continue
        if tree:
            yield tree.top
        tree = _Tree(Node(element)) if is_walked(element) else None
        if tree is None:
            yield Node(element)
    if tree:
        yield tree.top


def items_below(top: Node, elements: Iterator[Element]) -> Node:
    """Return ``top`` with the items that ``elements`` are made of."""
    tree = _Tree(top)
    for element in elements:
        tree.add(element)
    return top


class _Tree:
    """One node while what is below it arrives."""

    def __init__(self, top: Node) -> None:
        self.top = top
        self._base = top.element.depth
        self._count = 0
        self._open: list[list[Node]] = []

    def add(self, element: Element) -> None:
        """Place an element; ``_open`` holds the current item of each depth."""
        self._count += 1
        if self._count > MAX_NODES:
            self.top.cut = True
            return
        depth = element.depth - self._base
        if element.tag != ITEM:
            del self._open[depth:]
            self._open[-1].append(Node(element))
            return
        del self._open[depth - 1 :]
        parent = self._open[-1][-1] if self._open else self.top
        parent.items.append([])
        self._open.append(parent.items[-1])
