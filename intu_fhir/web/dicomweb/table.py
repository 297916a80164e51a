"""Every route of DICOMweb, each with the role it needs."""

from __future__ import annotations

from intu_fhir.web.access.roles import Role
from intu_fhir.web.dicomweb import frames, metadata, query, rendered, retrieve
from intu_fhir.web.routes import Route, get


def routes(prefix: str) -> tuple[Route, ...]:
    """Return the routes below an address."""
    study = f"{prefix}/studies/{{study}}"
    series = f"{study}/series/{{series}}"
    instance = f"{series}/instances/{{instance}}"
    viewer = Role.VIEWER
    return (
        *query.routes(prefix),
        get(study, viewer, retrieve.retrieve),
        get(series, viewer, retrieve.retrieve),
        get(instance, viewer, retrieve.retrieve_instance),
        get(f"{study}/metadata", viewer, metadata.retrieve_metadata),
        get(f"{series}/metadata", viewer, metadata.retrieve_metadata),
        get(f"{instance}/metadata", viewer, metadata.retrieve_metadata),
        get(f"{instance}/bulkdata/{{path:path}}", viewer, frames.retrieve_bulk),
        get(f"{instance}/frames/{{frames}}", viewer, frames.retrieve_frames),
        get(f"{instance}/rendered", viewer, rendered.render),
        get(f"{instance}/frames/{{frames}}/rendered", viewer, rendered.render),
        get(f"{study}/thumbnail", viewer, rendered.thumbnail),
        get(f"{series}/thumbnail", viewer, rendered.thumbnail),
        get(f"{instance}/thumbnail", viewer, rendered.thumbnail),
        get(f"{instance}/frames/{{frames}}/thumbnail", viewer, rendered.thumbnail),
    )
