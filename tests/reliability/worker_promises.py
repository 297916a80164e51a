"""What workers promise, held against what the far sides have counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from intu_fhir.db.trouble import ABANDONED_SECONDS
from tests.support.counting import CountingEhr, CountingPacs
from tests.support.many import instance_uid, study_uid

EHR, PACS = "ehr", "pacs"


@dataclass(frozen=True)
class Plan:
    """What is to happen.

    Args:
        late: studies that get another image, and so a second generation, meanwhile.
        at_once: studies on their way at the same time, for each of both destinations.
        per_minute: studies begun within a minute at the PACS.
        skew: clocks of workers are wrong by as many seconds, at most.
        every: deliveries between two kills.
        freeze: let a worker stand still for longer than its lease now and then, too.
        delay: seconds that the EHR takes for a request, at most.
        slack: seconds that a busy machine may add to a lease before somebody looks.
        patience: seconds until the run counts as stuck.
    """

    studies: int = 4_500
    late: int = 1_000
    workers: int = 8
    at_once: int = 4
    per_minute: float = 1_800.0
    lease: float = 5.0
    skew: float = 1.0
    every: int = 60
    freeze: bool = False
    mutant: str = ""
    seed: int = 1
    delay: float = 0.03
    slack: float = 3.0
    patience: float = 3_600.0


@dataclass
class Found:
    """What a run has shown.

    Args:
        lost: what should be at a far side and is not.
        doubled: studies with several resources.
        repeated: studies of which a generation was written twice; a worker that freezes between
            looking and writing may do so.
        disordered: studies of which an older generation came after a newer one.
        resent: images that came more than once; allowed are those in hand at a kill.
        above: what exceeded a limit.
        recovery: seconds from a kill until somebody else had the work, for each piece of it.
    """

    deliveries: int = 0
    kills: int = 0
    freezes: int = 0
    seconds: float = 0.0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    resent: int = 0
    above: list[str] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=dict)
    recovery: list[float] = field(default_factory=list)

    def line(self) -> str:
        """Return it in one line."""
        slowest = max(self.recovery, default=0.0)
        return (
            f"{self.deliveries} deliveries in {self.seconds:.0f} s, {self.kills} kills, "
            f"{self.freezes} freezes: {len(self.lost)} lost, {len(self.doubled)} doubled, "
            f"{len(self.repeated)} written twice, "
            f"{len(self.disordered)} out of order, {self.resent} images sent again, "
            f"at most {self.most}; {len(self.recovery)} pieces of work of killed workers taken "
            f"again, the last after {slowest:.1f} s{'; above limits: ' if self.above else ''}"
            f"{', '.join(self.above)}"
        )

    def is_bad(self, plan: Plan) -> bool:
        """Say whether a promise broke."""
        broken = bool(self.lost or self.doubled or self.disordered or self.above)
        broken = broken or len(self.repeated) > self.freezes
        in_hand = (self.kills + self.freezes) * plan.at_once
        longest = plan.lease + 2 * plan.skew + plan.slack
        if plan.freeze:  # one that froze in a transaction keeps its locks for so long
            longest += ABANDONED_SECONDS
        return broken or max(self.recovery, default=0) > longest or self.resent > in_hand


@dataclass(frozen=True)
class Census:
    """Looks at what has arrived.

    Args:
        wanted: the newest generation of each study, by number.
    """

    plan: Plan
    wanted: Mapping[int, int]
    ehr: CountingEhr
    pacs: CountingPacs

    def count(self, found: Found, at_once: int) -> None:
        """Note what is wrong at the far sides.

        Args:
            at_once: studies that may be on their way at the same time.
        """
        self._count_ehr(found)
        self._count_pacs(found)
        for name, visits in ((EHR, self.ehr.visits), (PACS, self.pacs.visits)):
            found.most[name] = visits.most
            if visits.most > at_once:
                found.above.append(f"{visits.most} at once at {name}")
        begun = self.pacs.visits.most_within(60)
        found.most["begun within a minute"] = begun
        # One second's worth may come at once, and what was in hand may come late.
        if begun > self.plan.per_minute * 61 / 60 + at_once:
            found.above.append(f"{begun} begun within a minute at {PACS}")

    def _count_ehr(self, found: Found) -> None:
        seen = self.ehr.generations()
        for number, wanted in self.wanted.items():
            resources = seen.get(study_uid(number), [])
            told = resources[0] if resources else []
            if not told or told[-1] != wanted:
                found.lost.append(f"{EHR}: {study_uid(number)} {told}")
            if len(resources) > 1:
                found.doubled.append(f"{EHR}: {study_uid(number)} {resources}")
            if len(set(told)) < len(told):
                found.repeated.append(f"{EHR}: {study_uid(number)} {told}")
            if told != sorted(told):
                found.disordered.append(f"{EHR}: {study_uid(number)} {told}")

    def _count_pacs(self, found: Found) -> None:
        counts = self.pacs.counts()
        first = dict(reversed(self.pacs.received))
        for number, wanted in self.wanted.items():
            uids = [instance_uid(number, one) for one in range(1, wanted + 1)]
            found.lost += [f"{PACS}: {uid}" for uid in uids if uid not in counts]
            times = [first.get(uid, 0.0) for uid in uids]
            if times != sorted(times):
                found.disordered.append(f"{PACS}: {study_uid(number)}")
        found.resent = sum(counts.values()) - len(counts)
