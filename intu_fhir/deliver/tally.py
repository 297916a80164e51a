"""The answers of a PACS, counted and judged as a whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from intu_fhir.deliver.outcomes import Rule, Verdict, sentence
from intu_fhir.model.counting import counted
from intu_fhir.model.outcome import Dead, Delivered, InstanceOutcome, Retry

NO_ANSWER = "no answer"
_CODE = re.compile(r"[0-9A-F]{4}")
_GIVE_UP_AFTER = 3
"""A PACS that is out of resources so many times running is left in peace for now."""


def warning_of(number: int, status: str, detail: str) -> str:
    """Return in words how many images a PACS took with a warning, and the first of these."""
    return f"{counted(number, 'instance')}: {status} {detail}"


@dataclass(frozen=True, slots=True)
class _First:
    """The first answer of a kind, in the parts that the outcome of the study is made of."""

    outcome: InstanceOutcome
    rule: Rule
    said: str


@dataclass
class Tally:
    """Counts the answers of one call, and judges what came of it as a whole."""

    tell: Callable[[InstanceOutcome], None]
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    first: dict[Verdict, _First] = field(default_factory=dict)
    in_hand: str = ""
    refusals: int = 0
    transcoded: int = 0

    @property
    def gave_up(self) -> bool:
        """Whether the PACS has no resources and is better left alone now."""
        return self.refusals >= _GIVE_UP_AFTER

    def add(
        self, uid: str, status: str, rule: Rule, said: str = "", transcoded_to: str = ""
    ) -> None:
        """Take the outcome of one instance."""
        delivered = rule.verdict in {Verdict.DELIVERED, Verdict.WARNING}
        warning = rule.verdict is Verdict.WARNING
        plain = rule.verdict is Verdict.DELIVERED
        detail = "" if plain else sentence(rule.meaning, said, rule.remedy)
        outcome = InstanceOutcome(uid, status, delivered, warning, detail, transcoded_to)
        self.transcoded += bool(delivered and transcoded_to)
        self.verdicts[rule.verdict] += 1
        self.first.setdefault(rule.verdict, _First(outcome, rule, said))
        self.refusals = self.refusals + 1 if rule.verdict is Verdict.RETRY else 0
        self.in_hand = ""
        self.tell(outcome)

    def interrupted(self, where: str, reason: str, remedy: str = "") -> Retry:
        """Return the outcome of a call whose association ended early.

        Args:
            where: the PACS, as its administrator knows it.
            remedy: what to do where it took nothing at all.
        """
        silent = not self.verdicts  # who has answered for an instance is there
        uid, in_hand = self.in_hand, ""
        if uid:
            self.add(uid, NO_ANSWER, Rule(Verdict.RETRY, reason))
            in_hand = f", with instance {uid} in hand"
        detail = sentence(f"{where}: {reason}{in_hand}", remedy="the rest is sent again later")
        if silent and remedy:
            detail = sentence(detail, remedy=remedy)
        return Retry(NO_ANSWER, detail, silent=silent)

    def outcome(self, wanted: int) -> Delivered | Retry | Dead:
        """Return the outcome of a call that went through."""
        taken = self.verdicts[Verdict.DELIVERED] + self.verdicts[Verdict.WARNING]
        if taken == wanted:
            warned = self.first.get(Verdict.WARNING)
            number = self.verdicts[Verdict.WARNING]
            status, detail = (warned.outcome.status, warned.outcome.detail) if warned else ("", "")
            warning = warning_of(number, status, detail) if warned else ""
            how = f", {self.transcoded} of them decompressed" if self.transcoded else ""
            return Delivered(status or "0000", counted(taken, "instance") + how, warning)
        # As long as something may still go through, the study is not a dead letter.
        verdict = Verdict.RETRY if taken + self.verdicts[Verdict.DEAD] < wanted else Verdict.DEAD
        verdict = Verdict.RETRY if self.verdicts[Verdict.RETRY] else verdict
        worst = self.first[verdict]
        uid, status = worst.outcome.sop_instance_uid, worst.outcome.status
        count = f"{wanted - taken} of {wanted} instances not taken, the first is {uid}"
        # What is true of this study alone stands in brackets, so that a cause is without it.
        code = f"{status}: " if _CODE.fullmatch(status) else ""
        said = "; ".join(filter(None, (worst.said, count)))
        detail = sentence(code + worst.rule.meaning, said, worst.rule.remedy)
        return (Retry if verdict is Verdict.RETRY else Dead)(status, detail)
