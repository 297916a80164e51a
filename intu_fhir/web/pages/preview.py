"""What would be published of a study, also by a mapping that nobody uses yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.app.previewing import preview_study, release_taken
from intu_fhir.errors import ConfigurationError
from intu_fhir.model.audit import Action
from intu_fhir.settings.schema import Configuration
from intu_fhir.web.access.roles import Role
from intu_fhir.web.difference import difference, pretty
from intu_fhir.web.fields import asked
from intu_fhir.web.http.trail import note_look
from intu_fhir.web.pages.study import address, counted, uid_of
from intu_fhir.web.rendering import page, site_of
from intu_fhir.web.routes import get

MOST_FILES = 50
Release = Literal["r4", "r5"]


def mappings_of(configuration: Configuration) -> Mapping[str, Path]:
    """Return the mapping files that lie beside the channels, by a name to choose them by.

    Only these can be tried: an address or a form never names a path of this machine.
    """
    found: dict[str, Path] = {}
    for channel in configuration.channels:
        if channel.mapping is not None:
            found[f"{channel.id}: {channel.mapping.name}"] = channel.mapping
        folder = configuration.folder / "channels" / channel.id
        for file in sorted(folder.glob("*.yaml"))[:MOST_FILES]:
            if file.name != "channel.yaml":
                found.setdefault(f"{channel.id}: {file.name}", file)
    return found


def release_of(wanted: str, configuration: Configuration) -> Release:
    """Return the FHIR release that is asked for, else the one that all destinations take."""
    if wanted in ("r4", "r5"):
        return "r5" if wanted == "r5" else "r4"
    return release_taken(configuration)


def show(request: Request) -> Response:
    """Show the resource as it would be built now."""
    site, uid = site_of(request), uid_of(request)
    known = mappings_of(site.configuration)
    chosen = asked(request, "mapping")
    release = release_of(asked(request, "release"), site.configuration)
    preview, problem = None, ""
    try:
        preview = preview_study(site.app, uid, release=release, mapping=known.get(chosen))
        if preview is None:
            raise HTTPException(404)
    except ConfigurationError as error:
        problem = str(error)
    note_look(request, site, Action.VIEWED, what=f"preview of {uid}", study=uid)
    built = preview.built if preview else None
    before = preview.published if preview else None
    content = built.resource if built else None
    return page(
        request,
        "preview.html",
        status=400 if problem else 200,
        title="Preview",
        uid=uid,
        address=address(uid),
        mappings=list(known),
        chosen=chosen if chosen in known else "",
        release=release,
        problem=problem,
        built=built,
        findings=counted(one.as_dict() for one in built.findings) if built else [],
        difference=difference(before, content) if before and content else None,
        text=pretty(content) if content else "",
    )


ROUTES = (get("/studies/{uid}/preview", Role.VIEWER, show),)
