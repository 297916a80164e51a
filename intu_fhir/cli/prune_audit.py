"""``intu-fhir prune-audit``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from intu_fhir.cli.old_rows import Words, how_old, remove_old
from intu_fhir.cli.program import Program, command, json_option
from intu_fhir.cli.table import Column
from intu_fhir.cli.text import local_minute, zone_name
from intu_fhir.db.old_audit import OldEvents
from intu_fhir.upkeep.old_rows import AuditRemoval


@command(
    "prune-audit",
    "intu-fhir audit export --until 2023-01-01 --output before-2023.ndjson",
    "intu-fhir prune-audit --older-than 1095 --dry-run",
    "intu-fhir prune-audit --older-than 1095",
)
@how_old("They happened", "audit_days")
@json_option()
def prune_audit_command(program: Program, wants_json: bool, **options: Any) -> None:
    """Remove old events of the audit trail from the database.

    They go from its beginning on, up to the first that is younger, does not fit into the chain, or
    is of a study on its way; KEPT BY says which. That they went is an event itself, and `audit
    verify` says from when on it vouches for the trail. Export first what the law wants for
    longer.
    """
    words = Words(
        "events", "events of the audit trail", "audit_days", lambda one: one.events, _show
    )
    remove_old(program, AuditRemoval, words, wants_json=wants_json, **options)


def _show(found: list[OldEvents]) -> tuple[list[Any], Sequence[Column[Any]]]:
    """Return what was found as one stretch: it goes as one, whatever goes at a time."""
    times = [one.newest_at for one in found if one.newest_at]
    if not found:
        return [], _COLUMNS
    stretch = {
        "newest_at": max(times, default=None),
        "first": found[0].first,
        "last": found[-1].end.position,
        "events": sum(one.events for one in found),
        "kept_by": found[-1].kept_by,
    }
    return [stretch], _COLUMNS


def _minute(at: datetime | None) -> str:
    return local_minute(at) if at else ""


_COLUMNS: list[Column[dict[str, Any]]] = [
    Column(f"NEWEST ({zone_name()})", lambda row: _minute(row["newest_at"])),
    Column("FROM EVENT", lambda row: row["first"], right=True),
    Column("TO EVENT", lambda row: row["last"], right=True),
    Column("EVENTS", lambda row: row["events"], right=True),
    Column("KEPT BY", lambda row: row["kept_by"]),
]
