"""As whom SQL of a person's own is asked, which comes by the web."""

from __future__ import annotations

from intu_fhir.db.readonly import ADMINISTRATORS_ONLY, Reader, RefusedQuery
from intu_fhir.web.access.roles import Role
from intu_fhir.web.context import Site


def reader_for(site: Site, role: Role) -> Reader:
    """Return as whom somebody of a role asks.

    SQLite hides by itself what only administrators may see. PostgreSQL needs a role that can only
    read, which is the same for everybody, so there it shows that to nobody.

    Raises:
        RefusedQuery: there is no such role on PostgreSQL.
    """
    ours, reader = site.configuration.site.database, site.web.sql.database
    if ours.startswith("sqlite:"):
        sees_all = role >= Role.ADMINISTRATOR
        return Reader(ours, frozenset() if sees_all else ADMINISTRATORS_ONLY)
    if reader is None:
        raise RefusedQuery(
            "On PostgreSQL a statement by the web needs a role that can only read, and none is "
            "named; make one with deploy/postgresql/reader-role.sql and write it to "
            "web.sql.database"
        )
    return Reader(reader)


def unable(site: Site, role: Role) -> str:
    """Say why nothing can be asked; empty = it can."""
    try:
        reader_for(site, role)
    except RefusedQuery as error:
        return str(error)
    return ""
