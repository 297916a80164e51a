"""An association with what was agreed on it, and what has to be agreed for some instances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from intu_fhir.deliver.association import Association
from intu_fhir.deliver.outcomes import CONTEXT_RESULTS
from intu_fhir.deliver.stored import ObjectToSend
from intu_fhir.deliver.upper_layer import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    MAX_CONTEXTS,
    Accepted,
    Context,
)

_UNCOMPRESSED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
_NOT_MENTIONED = 2
Syntaxes = tuple[str, ...]
"""SOP class, and the transfer syntaxes of which one is to be granted."""


@dataclass(frozen=True)
class Batch:
    """What goes over one association."""

    contexts: tuple[Context, ...]
    objects: tuple[ObjectToSend, ...]


def batches(objects: Sequence[ObjectToSend], *, transcode: bool) -> Iterator[Batch]:
    """Split by presentation contexts: an association has 128 at most (PS3.8 9.3.2.2).

    Args:
        transcode: ask for an uncompressed transfer syntax too, as a way out.
    """
    chosen: dict[tuple[str, str], None] = {}
    wanted: dict[Syntaxes, None] = {}
    for syntax in dict.fromkeys(one.syntax for one in objects):
        more = {**wanted, **dict.fromkeys(_wanted(syntax, transcode))}
        if len(more) > MAX_CONTEXTS:
            yield _batch(wanted, chosen, objects)
            chosen, more = {}, dict.fromkeys(_wanted(syntax, transcode))
        wanted = more
        chosen[syntax] = None
    if chosen:
        yield _batch(wanted, chosen, objects)


def _wanted(syntax: tuple[str, str], transcode: bool) -> list[Syntaxes]:
    if transcode and syntax[1] != IMPLICIT_VR_LITTLE_ENDIAN:
        return [syntax, (syntax[0], *_UNCOMPRESSED)]
    return [syntax]


def _batch(
    wanted: Iterable[Syntaxes], chosen: Iterable[tuple[str, str]], objects: Sequence[ObjectToSend]
) -> Batch:
    contexts = tuple(
        Context(2 * number + 1, abstract, transfer, tuple(or_else))
        for number, (abstract, transfer, *or_else) in enumerate(wanted)
    )
    syntaxes = set(chosen)
    return Batch(contexts, tuple(one for one in objects if one.syntax in syntaxes))


@dataclass(frozen=True, slots=True)
class Agreed:
    """The presentation context of an instance, and the transfer syntax that was granted in it."""

    context_id: int
    transfer_syntax_uid: str


@dataclass
class Line:
    """An open association; use it in one thread at a time.

    Args:
        proposed: what was asked for.
        accepted: what was granted of it.
        opened_at: seconds on the monotonic clock.
        is_reused: it has served another study before.
    """

    association: Association
    proposed: Sequence[Context]
    accepted: Accepted
    opened_at: float
    is_reused: bool = False
    _by_syntaxes: dict[Syntaxes, int] = field(init=False)

    def __post_init__(self) -> None:
        self._by_syntaxes = {_syntaxes(one): one.context_id for one in self.proposed}

    def fits(self, batch: Batch) -> bool:
        """Say whether all was asked for here that a batch needs."""
        return all(_syntaxes(one) in self._by_syntaxes for one in batch.contexts)

    def agreed(self, one: ObjectToSend) -> Agreed | str:
        """Return how an instance can be sent, or why it cannot (PS3.8 table 9-18)."""
        own = self._by_syntaxes[one.syntax]
        granted = self._granted(own)
        if granted == one.transfer_syntax_uid:
            return Agreed(own, granted)
        other = self._by_syntaxes.get((one.sop_class_uid, *_UNCOMPRESSED))
        if other is not None and one.transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN:
            uncompressed = self._granted(other)
            if uncompressed in _UNCOMPRESSED:
                return Agreed(other, uncompressed)
        result = self.accepted.results.get(own, _NOT_MENTIONED)
        if result == 0:
            return "another syntax granted"
        return CONTEXT_RESULTS.get(result, f"result {result}")

    def _granted(self, context_id: int) -> str:
        if self.accepted.results.get(context_id, _NOT_MENTIONED) != 0:
            return ""
        return self.accepted.transfer_syntaxes.get(context_id, "")


def _syntaxes(context: Context) -> Syntaxes:
    return (context.abstract_syntax, context.transfer_syntax, *context.or_else)
