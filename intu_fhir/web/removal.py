"""An object that a person takes out of quarantine, by the page or by the API."""

from __future__ import annotations

from intu_fhir.db.pruning import Pruner
from intu_fhir.db.quarantine import take_out
from intu_fhir.errors import StoreUnavailable
from intu_fhir.model.audit import Actor
from intu_fhir.upkeep.prune import Prune
from intu_fhir.web.context import Site


def remove_object(site: Site, key: int, *, by: str, reason: str, address: str) -> bool | None:
    """Take an object out of quarantine and remove its file for good.

    Returns:
        None where there is no such object; False where its file goes later: a backup is being
        made, or the store does not answer.
    """
    now = site.clock.now()
    with site.database.write() as connection:
        if not take_out(connection, key, by=by, reason=reason, now=now, address=address):
            return None
    prune = Prune(site.database, site.app.files, site.clock, Pruner(by, Actor.PERSON))
    try:
        return prune.remove_files() is not None
    except StoreUnavailable:
        return False  # it is written down, and goes with the next files that are removed
