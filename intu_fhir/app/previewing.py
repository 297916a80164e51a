"""What would be published of a study, without publishing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from intu_fhir.app.reading import read_studies
from intu_fhir.app.wiring import App
from intu_fhir.app.working import Working
from intu_fhir.build.step import BuildStep, ChannelPlan
from intu_fhir.db.old_headers import be_first_at_headers
from intu_fhir.db.resources import BuiltResource, newest_resource
from intu_fhir.db.studies import channels_of, study_key_of
from intu_fhir.mappings import Release, attributes_of, load_mapping
from intu_fhir.settings.schema import Configuration


@dataclass(frozen=True, slots=True)
class Preview:
    """One study as it would be published.

    Args:
        published: the resource that was built last for this release, if one was.
    """

    study_instance_uid: str
    built: BuiltResource
    published: dict[str, Any] | None = None


def release_taken(configuration: Configuration) -> Release:
    """Return the FHIR release that all destinations of a site take, R4 where they differ."""
    everywhere = configuration.site.destinations.values()
    return "r5" if {one.release for one in everywhere if one.type == "fhir"} == {"r5"} else "r4"


def preview_study(
    app: App, uid: str, *, release: Release, mapping: Path | None = None
) -> Preview | None:
    """Build a staged study as it is now; None where it was never received.

    Raises:
        ConfigurationError: the mapping file is wrong.
    """
    working = Working(app)
    with app.database.snapshot() as connection:
        be_first_at_headers(connection)
        key = study_key_of(connection, uid)
        if key is None:
            return None
        plan = _plan(working.build, channels_of(connection, key), mapping)
        # What the tried mapping wants is looked for in headers that are staged already.
        levels = attributes_of([plan.mapping]).levels if mapping else working.levels
        study, _ = working.load_study_for(levels, connection, key, 1)
        published = newest_resource(connection, key, release)
    return Preview(
        uid,
        working.build.build_release(study, plan, release),
        published.resource if published else None,
    )


def preview_files(
    app: App, paths: Sequence[Path], *, release: Release, mapping: Path | None = None
) -> list[Preview]:
    """Build the studies that files hold, as if they had arrived through the first channel."""
    build = Working(app).build
    plan = _plan(build, [channel.id for channel in app.configuration.channels][:1], mapping)
    studies = read_studies(paths, attributes_of([plan.mapping]).levels)
    return [Preview(study.uid, build.build_release(study, plan, release)) for study in studies]


def _plan(build: BuildStep, channels: Sequence[str], mapping: Path | None) -> ChannelPlan:
    known = [build.plans[name] for name in channels if name in build.plans]
    plan = known[0] if known else build.fallback
    return replace(plan, mapping=load_mapping(mapping)) if mapping else plan
