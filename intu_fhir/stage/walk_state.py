"""What a walk over a data set knows: which elements are asked for, and what it is inside of."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from intu_fhir.stage.encodings import Encoding


class Wanted(Protocol):
    """Which elements to yield: tags by the 32-bit numbers they are read as."""

    def __contains__(self, key: object, /) -> bool:
        """Say whether it is asked for."""
        ...

    def __getitem__(self, key: int, /) -> int:
        """Return its tag."""
        ...


class Everything:
    """Wants every element."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: int) -> int:
        return self._encoding.tag(key)


class Frame:
    """A data set, an item or a sequence that is being read."""

    __slots__ = ("depth", "encoding", "end", "pos", "sequence", "undefined", "unknown")

    def __init__(
        self,
        pos: int,
        end: int,
        encoding: Encoding,
        depth: int,
        *,
        sequence: bool = False,
        undefined: bool = False,
        unknown: bool = False,
    ) -> None:
        self.pos, self.end, self.encoding, self.depth = pos, end, encoding, depth
        self.sequence, self.undefined, self.unknown = sequence, undefined, unknown


@lru_cache(maxsize=64)
def by_key(tags: frozenset[int], encoding: Encoding) -> dict[int, int]:
    """Return tags by the 32-bit numbers they are read as in this byte order."""
    return {encoding.tag(tag): tag for tag in tags}
