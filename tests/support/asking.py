"""What a peer by hand sends to ask for storage commitment (PS3.4 J.3.2)."""

from __future__ import annotations

from tests.support.raw_peer import CONTEXTS, IMPLICIT, command, element, us

COMMITMENT, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
COMMITMENT_ID = 9
WITH_COMMITMENT = (*CONTEXTS, (COMMITMENT_ID, COMMITMENT, (IMPLICIT,)))


def action(
    *, sop_class: str = COMMITMENT, instance: str = WELL_KNOWN, kind: int = 1, data_set: int = 1
) -> bytes:
    """Return an N-ACTION-RQ."""
    return command(
        element(0x0003, sop_class.encode()),
        us(0x0100, 0x0130),
        us(0x0110, 5),
        us(0x0800, data_set),
        element(0x1001, instance.encode()),
        us(0x1008, kind),
    )
