"""What all requests have in common: what they name, who asks, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from intu_fhir.db.image_files import Place
from intu_fhir.model.audit import Action
from intu_fhir.model.uid import is_uid
from intu_fhir.web.access.roles import Role
from intu_fhir.web.context import Site
from intu_fhir.web.http.identify import person_address
from intu_fhir.web.http.trail import event_of, note
from intu_fhir.web.rendering import asker_of, site_of

JSON = "application/dicom+json"


def place_of(request: Request) -> Place:
    """Return the study, series or instance that an address names.

    Raises:
        HTTPException: one of its UIDs is none; nothing else gets near the database.
    """
    named = request.path_params
    if not all(is_uid(named[key]) for key in ("study", "series", "instance") if key in named):
        raise HTTPException(400, "the address holds something that is no UID")
    return Place(named["study"], named.get("series"), named.get("instance"))


def address_of(base: str, place: Place) -> str:
    """Return where a study, series or instance is retrieved."""
    address = f"{base}/studies/{place.study}"
    if place.series:
        address += f"/series/{place.series}"
    return f"{address}/instances/{place.instance}" if place.instance else address


def base_of(request: Request) -> str:
    """Return the address of the service: as configured, else as it was asked for."""
    site = site_of(request)
    wanted = site.web.dicomweb
    if wanted.url:
        return wanted.url
    scheme = "https" if site.is_https else "http"
    return f"{scheme}://{request.headers['host']}{wanted.path}"


def may_see_held(request: Request) -> bool:
    """Say whether somebody may see studies that are held: who may decide on them may look."""
    person = asker_of(request).person
    return person is not None and person.may(Role.OPERATOR)


def note_search(request: Request, site: Site, objects: int) -> None:
    """Write down that somebody has searched; what for is never written anywhere."""
    note(site, event_of(request, site, Action.QUERIED, objects=objects, reason="DICOMweb search"))


def note_view(request: Request, site: Site, study: str, objects: int) -> None:
    """Write down that somebody has been given objects of a study."""
    reason = f"DICOMweb retrieval of study {study}"
    note(
        site,
        event_of(request, site, Action.VIEWED, study=study, objects=objects, reason=reason),
    )


def note_parts(request: Request, site: Site, study: str) -> None:
    """Write down that somebody looks at a study image by image: once for some minutes."""
    person = asker_of(request).person
    who = f"{person.via}:{person.name}@{person_address(request, site)}" if person else ""
    if site.looks.is_new(who, f"dicomweb {study}", site.clock.now()):
        note_view(request, site, study, objects=0)


def as_json(content: object, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in the DICOM JSON model."""
    return Response(orjson.dumps(content), headers=dict(headers or {}), media_type=JSON)
