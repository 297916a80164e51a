"""FHIR validators that share no code with the program (``tests/validators``, Node)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.support.data import REPOSITORY
from tests.support.programs import missing, require

_FOLDER = REPOSITORY / "tests" / "validators"


@dataclass(frozen=True)
class Objection:
    """What a validator holds against a resource.

    Args:
        index: which of the resources, counted from 0.
        validator: ``medplum`` (structure) or ``fhir.js`` (also codes and reference types).
        path: the element, as a FHIRPath.
        text: the validator's own words.
    """

    index: int
    validator: str
    path: str
    text: str


def validate_independently(
    resources: Iterable[dict[str, Any]], release: str = "r4"
) -> list[Objection]:
    """Return the errors that two independent validators find; skips the test without them.

    They overlook times without a zone, impossible days, empty strings and lists, and contained
    resources that nothing refers to.

    Args:
        resources: any number; the validators take a second to start, so hand over many.
        release: ``r4``, ``r4b`` or ``r5``.
    """
    node = require("node")
    if not (_FOLDER / "node_modules").is_dir():
        missing("`npm ci --prefix tests/validators`")
    done = subprocess.run(
        [node, str(_FOLDER / "validate.mjs"), release],
        input="".join(json.dumps(resource) + "\n" for resource in resources),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the validators failed: {done.stderr[-2000:]}")
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        Objection(found["index"], found["validator"], found["path"], found["text"])
        for found in findings
        if found["severity"] in {"error", "fatal"}
    ]
