"""What modalities were refused in the last day: associations, and objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from intu_fhir.db.refused import Refused
from intu_fhir.receive.rejections import Rejected
from intu_fhir.web.advised import Stuck
from intu_fhir.web.words import many

_NAMED = 5
"""So many are named; the others are counted."""

_REMEDIES = {
    "called_ae_title": "Correct the called AE title at the sender, or ae_title of the channel.",
    "calling_ae_title": "Correct the sender's own AE title, or add it to calling_ae_titles.",
    "user_identity": "Correct user and passcode at the sender, or `users` of the channel.",
    "too_many_associations": "Raise max_associations or max_associations_per_address, or let it "
    "send over fewer at a time.",
    "too_many_contexts": "Raise max_contexts.",
}
_LOG = "The log says so as well: `connection_without_association`."


def turned_away(refused: Sequence[Refused], rejected: Sequence[Rejected]) -> Iterator[Stuck]:
    """Yield who got no association, then who was refused objects."""
    for one in rejected[:_NAMED]:
        yield _rejected(one)
    if more := sum(one.count for one in rejected[_NAMED:]):
        what = f"{many(more, 'more association')} rejected, of other senders"
        yield Stuck("retrying", what, None, _LOG, "", "")
    if refused:
        yield _refused(refused)


def _rejected(one: Rejected) -> Stuck:
    cause, _, titles = one.detail.partition(", ")
    what = f"{many(one.count, 'association')} from {one.peer} rejected on {one.channel}"
    remedy = f"{cause}: {titles}. {_REMEDIES.get(cause, _LOG)}"
    return Stuck("retrying", what, one.since, remedy, "", "")


def _refused(refused: Sequence[Refused]) -> Stuck:
    total = sum(one.count for one in refused)
    named = [
        f"{one.calling_ae_title or 'a sender without a title'} on {one.channel}: {one.count}"
        for one in refused[:_NAMED]
    ]
    rest = ", and others" if len(refused) > _NAMED else ""
    return Stuck(
        "retrying",
        f"{many(total, 'object')} refused in the last day",
        None,
        f"{', '.join(named)}{rest}. Their senders were told, and have to send them again. The log "
        "says why of each: `object_refused`.",
        "",
        "",
    )
