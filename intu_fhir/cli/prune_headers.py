"""``intu-fhir prune-headers``."""

from __future__ import annotations

from typing import Any

from intu_fhir.cli.old_rows import how_old, of_spans, remove_old
from intu_fhir.cli.program import Program, command, json_option
from intu_fhir.db.old_headers import Headers


@command(
    "prune-headers",
    "intu-fhir prune-headers --older-than 1095 --dry-run",
    "intu-fhir prune-headers --older-than 1095",
)
@how_old("All instances came", "headers_days")
@json_option()
def prune_headers_command(program: Program, wants_json: bool, **options: Any) -> None:
    """Remove the complete headers of old instances from the database.

    They go by ranges of keys, on PostgreSQL by whole parts of the table; the newest range
    stays. One stays while any of its studies is not delivered, held, failed, being received,
    or waits for storage commitment, too; KEPT BY names such a study. Rows, files, key object
    selections and what was published stay.
    """
    make, words = of_spans(Headers(), "headers", "complete headers", "headers_days")
    remove_old(program, make, words, wants_json=wants_json, **options)
