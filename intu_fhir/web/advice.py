"""What is stuck, and the sentence that says what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from intu_fhir.db.kept_back import KeptBack
from intu_fhir.db.overview import Overdue, Overview, QueueCount
from intu_fhir.model.cause import cause_of
from intu_fhir.model.destination import LATER, PAUSED, RECOVERING
from intu_fhir.model.work import DEAD, DELIVER, RETRYING, RUNNING, WAITING
from intu_fhir.receive.rejections import Rejected
from intu_fhir.web.advised import Stuck as Stuck
from intu_fhir.web.context import Site
from intu_fhir.web.turned_away import turned_away
from intu_fhir.web.words import age, many

PATIENCE = timedelta(minutes=2)
"""So long work may be due, and a header be unread, before somebody has to look."""


def advice_of(site: Site, seen: Overview, parts: Mapping[str, str]) -> list[Stuck]:
    """Return what needs a person on a site.

    Args:
        parts: what has to be there, each with what is wrong with it.
    """
    return stuck(seen, site.clock.now(), parts, site.rejected(), is_changed=site.is_changed())


def stuck(
    seen: Overview,
    now: datetime,
    parts: Mapping[str, str] | None = None,
    rejected: Sequence[Rejected] = (),
    *,
    is_changed: bool = False,
) -> list[Stuck]:
    """Return what needs a person, the worst first.

    Args:
        parts: what has to be there, each with what is wrong with it, as ``/readyz`` knows it.
        rejected: who got no association in the last day, as far as this process knows.
        is_changed: the configuration is not the one that this process has read.
    """
    order = {"dead": 0, "retrying": 1, "held": 2}
    all_of_it = [*_stuck(seen, now), *turned_away(seen.refused, rejected)]
    found = sorted(all_of_it, key=lambda one: order[one.weight])
    return [*_not_ready(parts or {}), *([_CHANGED] if is_changed else []), *found]


_CHANGED = Stuck(
    "held",
    "The configuration was changed after this process started",
    None,
    "It still works by the old one. Run `intu-fhir check`, then restart it.",
    "",
    "",
)


def _not_ready(parts: Mapping[str, str]) -> Iterator[Stuck]:
    """Return the parts without which no image is taken in or sent."""
    for name, wrong in parts.items():
        if wrong:
            what, remedy = _PARTS.get(name, (f"The part {name}", _CHECK))
            has = "has " if wrong.startswith("too ") else ""
            yield Stuck("dead", f"{what} {has}{wrong}", None, remedy, "", "")


_CHECK = "`intu-fhir check` says more."
_REFUSED = "Until then images are refused with A700; their senders have to send them again."
_PARTS = {
    "database": ("The staging database", f"See that it runs and has space. {_REFUSED} {_CHECK}"),
    "files": ("The file store", f"Mount its disk, or free space. {_REFUSED} {_CHECK}"),
    "receiver": ("The receiver", f"Read the log, and start `intu-fhir serve` again. {_CHECK}"),
    "clock": ("The clock of this machine is", "See that NTP sets it."),
}


def _stuck(seen: Overview, now: datetime) -> Iterator[Stuck]:
    kept = {one.destination: one for one in seen.kept_back if one.state != RECOVERING}
    for row in seen.queue:
        if row.state == DEAD:
            yield _dead(row)
        elif row.state == RETRYING and row.destination not in kept:
            yield _retrying(row)
    for one in kept.values():
        waits = sum(row.count for row in seen.queue if _waits_for(row, one))
        tell = {PAUSED: _paused, LATER: _later}.get(one.state, _down)
        yield tell(one, waits, now)
    for late in seen.overdue:
        if now - late.since > PATIENCE:
            yield _nobody(late)
    if seen.undescribed_since and now - seen.undescribed_since > PATIENCE:
        yield Stuck(
            "retrying",
            f"{many(seen.undescribed, 'instance')} without complete header",
            seen.undescribed_since,
            "See that a worker runs: `intu-fhir serve` or `intu-fhir worker`.",
            "/studies?state=receiving",
            "Show studies",
        )
    yield from _for_a_decision(seen)


def _waits_for(row: QueueCount, kept: KeptBack) -> bool:
    return row.destination == kept.destination and row.state in {WAITING, RUNNING, RETRYING}


def _paused(kept: KeptBack, waits: int, _now: datetime) -> Stuck:
    why = f": {kept.why}" if kept.why else ""
    return Stuck(
        "held",
        f"{kept.destination} is paused by {kept.by or 'somebody'}{why}",
        kept.since,
        f"{_waiting(waits)}; no try is lost. Resume it when it may go on.",
        f"/destinations#{kept.destination}",
        "Resume",
    )


def _later(kept: KeptBack, waits: int, now: datetime) -> Stuck:
    return Stuck(
        "retrying",
        f"{kept.destination} has asked to be left alone",
        kept.since,
        f"{_waiting(waits)}; all goes by itself, the first {age(kept.next_probe_at, now)}. Ask its "
        "operators about its limits, and set max_per_minute; resume it to try before.",
        f"/destinations#{kept.destination}",
        "Show destination",
    )


def _down(kept: KeptBack, waits: int, now: datetime) -> Stuck:
    probe = f" The next probe goes {age(kept.next_probe_at, now)}." if kept.next_probe_at else ""
    why = cause_of(kept.why)
    why = f"{why[0].upper()}{why[1:]}. " if why else ""
    return Stuck(
        "retrying",
        f"Nothing gets to {kept.destination}",
        kept.since,
        f"{why}{_waiting(waits)}; all goes by itself when one gets through.{probe}",
        f"/destinations#{kept.destination}",
        "Show destination",
    )


def _waiting(count: int) -> str:
    """Say how much waits."""
    if not count:
        return "Nothing waits yet"
    return f"{many(count, 'delivery', 'deliveries')} {'waits' if count == 1 else 'wait'}"


def _nobody(late: Overdue) -> Stuck:
    where = f"to {late.destination}" if late.destination else f"in step {late.step}"
    return Stuck(
        "retrying",
        f"{many(late.count, 'piece')} of work {where} due, and nobody takes it",
        late.since,
        "See that a worker runs: `intu-fhir serve` or `intu-fhir worker`. If one does, "
        "it has more to do than it can; allow more at once, or start another.",
        f"/studies?state={_STATE_OF_STEP.get(late.step, 'delivering')}",
        "Show studies",
    )


_STATE_OF_STEP = {"aggregate": "receiving", "build": "building", DELIVER: "delivering"}


def _for_a_decision(seen: Overview) -> Iterator[Stuck]:
    if seen.held:
        yield Stuck(
            "held",
            f"{many(seen.held, 'hold')} on studies",
            seen.held_since,
            "Read why, mend it at the source where it is wrong, or release it as it is.",
            "/review",
            "Review",
        )
    if seen.quarantined:
        yield Stuck(
            "held",
            f"{many(seen.quarantined, 'object')} quarantined in the last day",
            None,
            "They are kept and not published. Find out why their sender sends what it should not; "
            "an administrator removes what is settled.",
            "/review#quarantine",
            "Review",
        )


def _dead(row: QueueCount) -> Stuck:
    if row.step == DELIVER:
        return Stuck(
            "dead",
            f"{many(row.count, 'delivery', 'deliveries')} to {row.destination} failed for good",
            row.oldest,
            "Read the causes, mend them, then replay all of a cause at once.",
            f"/failures?destination={row.destination}",
            "Show failures",
        )
    return Stuck(
        "dead",
        f"{many(row.count, 'study', 'studies')} failed for good in step {row.step}",
        row.oldest,
        "Read the error, mend mapping or hook, then replay.",
        "/failures",
        "Show failures",
    )


def _retrying(row: QueueCount) -> Stuck:
    if row.step == DELIVER:
        return Stuck(
            "retrying",
            f"{many(row.count, 'delivery', 'deliveries')} to {row.destination} failing, "
            "tried again",
            row.oldest,
            "Nothing is lost. See whether the destination is up; when it is back they go by "
            "themselves.",
            "/destinations",
            "Show destinations",
        )
    return Stuck(
        "retrying",
        f"{many(row.count, 'study', 'studies')} failing in step {row.step}, tried again",
        row.oldest,
        "Nothing is lost. If it lasts, the error says what is missing.",
        "/failures",
        "Show failures",
    )
