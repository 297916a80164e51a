"""What the frames of an enhanced multi-frame image say, as attributes of the whole instance.

Such an image has its anatomy in functional groups (PS3.3 C.7.6.16): once for all frames, or
for each of thousands. Staging keeps the distinct items, so that the mapping finds them where it
finds the attributes of any other image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import orjson

from intu_fhir.model.values import Values, items
from intu_fhir.stage.elements import ITEM, Element

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
ANATOMY = "FrameAnatomySequence"
MAX_ITEMS = 64
"""Distinct items that are kept of one image."""

PER_FRAME_TAG = 0x52009230
_ANATOMY_TAG = 0x00209071


def with_frame_anatomy(values: Values) -> Values:
    """Return the values with the distinct items of Frame Anatomy Sequence (0020,9071).

    The most frequent one stands first; an image whose top level has the sequence keeps that.
    """
    if ANATOMY in values or not (SHARED in values or PER_FRAME in values):
        return values
    found: Counter[bytes] = Counter()
    first: dict[bytes, Values] = {}
    for sequence in (SHARED, PER_FRAME):
        for group in items(values, sequence):
            for item in items(group, ANATOMY):
                form = orjson.dumps(item, default=str, option=orjson.OPT_SORT_KEYS)
                first.setdefault(form, item)
                found[form] += 1
    if not found:
        return values
    ordered = sorted(found, key=lambda form: (-found[form], form))[:MAX_ITEMS]
    return {**values, ANATOMY: [first[form] for form in ordered]}


def anatomy_alone(elements: Iterator[Element]) -> Iterator[Element]:
    """Give the per-frame groups with nothing in them but their anatomy.

    For images whose groups are too many to be kept as a whole.

    Raises:
        InvalidDataSet: from ``elements``.
    """
    inside, kept_below = False, 0
    for element in elements:
        if element.depth == 0:
            inside, kept_below = element.tag == PER_FRAME_TAG, 0
            if inside:
                yield element
            continue
        if not inside:
            continue
        if kept_below and element.depth > kept_below:
            yield element
            continue
        kept_below = 0
        if element.depth == 1 and element.tag == ITEM:
            yield element
        elif element.depth == 1 and element.tag == _ANATOMY_TAG:
            kept_below = 1
            yield element
