"""The one table of what a study goes through; nothing else knows the order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intu_fhir.model.work import AGGREGATE, BUILD, DELIVER, DELIVERED, DONE


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the pipeline.

    Args:
        name: what its rows of the queue are called.
        next: the step that follows, or "" after the last one.
        done: the state of its row once it reached what was wanted.
        per_destination: it runs once for each destination of a study.
    """

    name: str
    next: str
    done: str
    per_destination: bool = False


STEPS: Mapping[str, Step] = {
    step.name: step
    for step in (
        Step(AGGREGATE, next=BUILD, done=DONE),
        Step(BUILD, next=DELIVER, done=DONE),
        Step(DELIVER, next="", done=DELIVERED, per_destination=True),
    )
}
