"""``intu-fhir prune-attempts``."""

from __future__ import annotations

from typing import Any

from intu_fhir.cli.old_rows import how_old, of_spans, remove_old
from intu_fhir.cli.program import Program, command, json_option
from intu_fhir.db.old_attempts import Attempts


@command(
    "prune-attempts",
    "intu-fhir prune-attempts --older-than 1095 --dry-run",
    "intu-fhir prune-attempts --older-than 1095",
)
@how_old("All of them ended", "attempts_days")
@json_option()
def prune_attempts_command(program: Program, wants_json: bool, **options: Any) -> None:
    """Remove old tries to deliver from the database.

    They go by ranges of keys, on PostgreSQL by whole parts of the table; the newest range
    stays. One stays while any of its studies is not delivered, held, failed, being received,
    or waits for storage commitment, too; KEPT BY names such a study. What a destination has,
    and what it answered last, stays.
    """
    make, words = of_spans(Attempts(), "attempts", "tries", "attempts_days")
    remove_old(program, make, words, wants_json=wants_json, **options)
