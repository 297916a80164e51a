"""What was built from each generation of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from intu_fhir.db.companions import store_companions
from intu_fhir.db.tables import resources
from intu_fhir.db.upsert import insert
from intu_fhir.model.companion import Companion
from intu_fhir.model.finding import Finding

VALID, INVALID, FILTERED = "valid", "invalid", "filtered"
"""States of a built resource; ``filtered``: the site's hook left the study out."""

_NEXT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class BuiltResource:
    """One ImagingStudy as built, before a destination's own subject, and what goes beside it."""

    release: str
    mapping_version: str
    channel: str
    state: str
    content_hash: str
    resource: dict[str, Any] | None
    findings: Sequence[Finding] = ()
    companions: Sequence[Companion] = ()


def store_resource(
    connection: Connection, study_key: int, generation: int, built: BuiltResource, now: datetime
) -> int:
    """Keep what was built; building a generation again replaces it. Returns its key."""
    content = {
        "channel": built.channel,
        "built_at": _after_others(connection, study_key, generation, built.release, now),
        "state": built.state,
        "content_hash": built.content_hash,
        "resource": built.resource,
        "findings": [finding.as_dict() for finding in built.findings],
    }
    statement = insert(connection, resources).values(
        study_key=study_key,
        generation=generation,
        release=built.release,
        mapping_version=built.mapping_version,
        **content,
    )
    key: int = connection.execute(
        statement.on_conflict_do_update(
            index_elements=["study_key", "generation", "release", "mapping_version"], set_=content
        ).returning(resources.c.resource_key)
    ).scalar_one()
    store_companions(connection, key, built.companions)
    return key


def _after_others(
    connection: Connection, study_key: int, generation: int, release: str, now: datetime
) -> datetime:
    """Return when it is built: after all that was built before, though a clock was set back."""
    r = resources.c
    last = connection.execute(
        sa.select(r.built_at)
        .where(r.study_key == study_key, r.generation == generation, r.release == release)
        .order_by(r.built_at.desc())
        .limit(1)
    ).scalar_one_or_none()
    return now if last is None else max(now, last + _NEXT)


@dataclass(frozen=True, slots=True)
class StoredResource:
    """A built resource as stored."""

    resource: dict[str, Any] | None
    content_hash: str
    state: str
    generation: int
    findings: list[dict[str, str]]
    resource_key: int = 0
    built_at: datetime | None = None


def find_resource(
    connection: Connection, study_key: int, resource_key: int
) -> dict[str, Any] | None:
    """Return the content of one built resource of a study; None where there is none."""
    found = sa.select(resources.c.resource).where(
        resources.c.resource_key == resource_key, resources.c.study_key == study_key
    )
    content: dict[str, Any] | None = connection.execute(found).scalar_one_or_none()
    return content


def newest_resource(
    connection: Connection, study_key: int, release: str, *, generation: int | None = None
) -> StoredResource | None:
    """Return what was built last for a release, of one generation or of any."""
    found = (
        sa.select(
            resources.c.resource,
            resources.c.content_hash,
            resources.c.state,
            resources.c.generation,
            resources.c.findings,
            resources.c.resource_key,
            resources.c.built_at,
        )
        .where(resources.c.study_key == study_key, resources.c.release == release)
        .order_by(
            resources.c.generation.desc(),
            resources.c.built_at.desc(),
            resources.c.resource_key.desc(),
        )
        .limit(1)
    )
    if generation is not None:
        found = found.where(resources.c.generation == generation)
    row = connection.execute(found).one_or_none()
    return StoredResource(*row) if row else None
