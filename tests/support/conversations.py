"""Conversations with a receiver that go wrong somewhere, the same for the same seed.

Each begins as a sender would begin. Then PDUs are damaged, left out, doubled, put elsewhere or
replaced: some bytes, some lengths, some types, some context ids, some elements of a command.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

from intu_fhir.model.commitment import ReferencedInstance
from intu_fhir.stage.commitment_answer import encode_action_information
from tests.support.asking import COMMITMENT, COMMITMENT_ID, WITH_COMMITMENT, action
from tests.support.raw_peer import (
    COMMAND,
    CT_ID,
    CT_IMAGE_STORAGE,
    DATA,
    IMPLICIT,
    LAST,
    MR_ID,
    VERIFICATION_ID,
    associate_request,
    command,
    echo_command,
    item,
    pdu,
    pdv,
    store_command,
    us,
)
from tests.support.studies import data_set_bytes, make_instance

# Never stored: every command names another instance than the data set does.
_OBJECT = data_set_bytes(make_instance("fuzzed"))
_LENGTHS = (0, 1, 2, 4, 5, 6, 7, 255, 16_384, 131_072, 131_073, 2**31 - 1, 2**31, 2**32 - 1)
_UID = "1.2.3.4"


class Conversations:
    """Makes conversations.

    Args:
        seed: what tells one run from another.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __iter__(self) -> Iterator[list[bytes]]:
        """Give conversations without end, each as a list of what should be PDUs."""
        while True:
            pdus = self._good()
            for _ in range(self._random.choice((0, 1, 1, 1, 2, 3))):
                self._spoil(pdus)
            yield pdus

    def _good(self) -> list[bytes]:
        pick = self._random
        pdus = [
            associate_request(
                WITH_COMMITMENT[: pick.choice((1, 2, 3, 4, 4, 4, 4, 4))],
                user_items=self._user_items(),
            )
        ]
        for _ in range(pick.randint(0, 8)):
            pdus += pick.choice(self._messages)(self)
        pdus += pick.choice(([pdu(5, bytes(4))], [pdu(7, bytes(4))], []))
        return pdus

    def _user_items(self) -> bytes:
        items = (
            item(0x53, struct.pack(">HH", 5, 5)),
            item(0x54, struct.pack(">H", len(COMMITMENT)) + COMMITMENT.encode() + b"\1\1"),
            item(0x56, struct.pack(">H", 5) + b"1.2.3" + bytes(6)),
            item(0x58, b"\2\1\0\4user\0\4code"),
            item(0x5F, b"nobody knows this one"),
        )
        return b"".join(one for one in items if self._random.random() < 0.3)

    def _echo(self) -> list[bytes]:
        return [pdu(4, pdv(VERIFICATION_ID, COMMAND | LAST, echo_command()))]

    def _store(self) -> list[bytes]:
        cut = self._random.randint(0, len(_OBJECT))
        first = [pdv(CT_ID, COMMAND | LAST, store_command(_UID)), pdv(CT_ID, DATA, _OBJECT[:cut])]
        rest = pdv(CT_ID, DATA | LAST, _OBJECT[cut:])
        return [pdu(4, b"".join(first)), pdu(4, rest)]

    def _action(self) -> list[bytes]:
        asked = [ReferencedInstance(CT_IMAGE_STORAGE, _UID)] * self._random.randint(0, 3)
        information = encode_action_information(self._transaction(), asked, IMPLICIT)
        cut = self._random.choice((len(information), self._random.randint(0, len(information))))
        return [
            pdu(4, pdv(COMMITMENT_ID, COMMAND | LAST, action())),
            pdu(4, pdv(COMMITMENT_ID, DATA | LAST, information[:cut])),
        ]

    def _transaction(self) -> str:
        """Return one of a few, so that some are asked for again."""
        return f"1.2.3.{self._random.randrange(200)}"

    def _odd(self) -> list[bytes]:
        """A command of random elements."""
        pick = self._random
        numbers = (0x0002, 0x0003, 0x0100, 0x0110, 0x0120, 0x0700, 0x0800, 0x0900, 0x1000, 0x1001)
        values = (0, 1, 0x20, 0x30, 0x0101, 0x0130, 0x0FFF, 0x8001, 0x8100, 0xFFFF)
        elements = [
            us(pick.choice(numbers), pick.choice(values)) for _ in range(pick.randint(0, 8))
        ]
        context_id = pick.choice((VERIFICATION_ID, CT_ID, MR_ID, COMMITMENT_ID, 99, 0))
        return [pdu(4, pdv(context_id, pick.randint(0, 3), command(*elements)))]

    _messages: tuple[Callable[[Conversations], list[bytes]], ...] = (
        _echo,
        _echo,
        _store,
        _store,
        _action,
        _odd,
    )

    # ---- what goes wrong

    def _spoil(self, pdus: list[bytes]) -> None:
        self._random.choice(self._mistakes)(self, pdus)
        if self._random.random() < 0.5:
            self._mend_lengths(pdus)

    def _mend_lengths(self, pdus: list[bytes]) -> None:
        """Give PDUs the length that they have, so that what is wrong in them is looked at."""
        for where, one in enumerate(pdus):
            if len(one) >= 6:
                pdus[where] = one[:2] + struct.pack(">I", len(one) - 6) + one[6:]

    def _place(self, pdus: list[bytes]) -> int:
        """Return where: the first PDU less often than those that only come behind it."""
        return self._random.choice((0, self._random.randrange(len(pdus)), len(pdus) - 1))

    def _flip(self, pdus: list[bytes]) -> None:
        where = self._place(pdus)
        damaged = bytearray(pdus[where])
        for _ in range(self._random.choice((1, 1, 2, 8))):
            if damaged:
                damaged[self._random.randrange(len(damaged))] = self._random.randrange(256)
        pdus[where] = bytes(damaged)

    def _lie(self, pdus: list[bytes]) -> None:
        """Put a length where one may stand."""
        where = self._place(pdus)
        damaged = bytearray(pdus[where])
        at = self._random.choice((2, 6, 12, 74, self._random.randrange(len(damaged) + 1)))
        length = struct.pack(">I", self._random.choice(_LENGTHS))
        damaged[at : at + 4] = length
        pdus[where] = bytes(damaged)

    def _cut(self, pdus: list[bytes]) -> None:
        where = self._place(pdus)
        pdus[where] = pdus[where][: self._random.randrange(len(pdus[where]) + 1)]

    def _grow(self, pdus: list[bytes]) -> None:
        where = self._place(pdus)
        at = self._random.randrange(len(pdus[where]) + 1)
        more = self._random.randbytes(self._random.choice((1, 2, 8, 64)))
        pdus[where] = pdus[where][:at] + more + pdus[where][at:]

    def _leave_out(self, pdus: list[bytes]) -> None:
        if len(pdus) > 1:
            del pdus[self._place(pdus)]

    def _double(self, pdus: list[bytes]) -> None:
        pdus.insert(self._place(pdus), pdus[self._place(pdus)])

    def _swap(self, pdus: list[bytes]) -> None:
        one, other = self._place(pdus), self._place(pdus)
        pdus[one], pdus[other] = pdus[other], pdus[one]

    def _invent(self, pdus: list[bytes]) -> None:
        body = self._random.randbytes(self._random.choice((0, 1, 4, 60, 300)))
        kind = self._random.choice((*range(1, 8), self._random.randrange(256)))
        pdus.insert(self._random.randrange(len(pdus) + 1), pdu(kind, body))

    def _mark(self, pdus: list[bytes]) -> None:
        """Change context id and header of a PDV."""
        where = self._place(pdus)
        if pdus[where][:1] == b"\4" and len(pdus[where]) >= 12:
            ids = (0, 1, 2, 3, 5, 9, 255)
            marks = bytes((self._random.choice(ids), self._random.choice((0, 1, 2, 3, 7, 255))))
            pdus[where] = pdus[where][:10] + marks + pdus[where][12:]

    _mistakes: tuple[Callable[[Conversations, list[bytes]], None], ...] = (
        _flip,
        _flip,
        _lie,
        _lie,
        _cut,
        _grow,
        _leave_out,
        _double,
        _swap,
        _invent,
        _mark,
        _mark,
    )
