"""The batch door of a site."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from intu_fhir.app.wiring import App
from intu_fhir.app.working import Working
from intu_fhir.db.associations import end_association, look_at_studies_now
from intu_fhir.db.audit import seal
from intu_fhir.errors import ConfigurationError
from intu_fhir.model.instance import Disposition, Origin
from intu_fhir.observe.login import login
from intu_fhir.receive.space import FreeSpace
from intu_fhir.settings.schema import Channel
from intu_fhir.stage.import_files import Imported, ImportReport, Result, import_objects
from intu_fhir.stage.media import find_objects

_DISPOSITIONS = {
    Result.STORED: Disposition.STORED,
    Result.ALREADY_STORED: Disposition.ALREADY_STORED,
    Result.DUPLICATE: Disposition.ALREADY_STORED,
    Result.QUARANTINED: Disposition.QUARANTINED,
    Result.REFUSED: Disposition.REFUSED,
    Result.NOT_DICOM: Disposition.REFUSED,
}
"""How the row of an import counts; what is missing on its media never came."""


def import_paths(
    app: App,
    paths: Iterable[Path],
    *,
    channel: str | None = None,
    by: str = "",
    keeps_floor: bool = True,
    on_progress: Callable[[Imported], None] = lambda _: None,
) -> ImportReport:
    """Bring files, folders, DICOMDIR media and zip archives into staging; safe to repeat.

    The complete headers are staged too, so the studies can be queried when it returns; they
    are published by a running ``serve`` or ``worker``. Where files go to an object store, those
    of the import go there at its end; what cannot waits in the spool (``uploads run``).

    Args:
        channel: id of the channel whose settings count; not needed where there is only one.
        by: who imports, for the audit trail; default: the user who is logged in.
        keeps_floor: leave ``receiver.min_free_bytes`` to those who receive, as receivers do. Not
            for files of the store itself, which take no more room than before.

    Raises:
        ConfigurationError: it is not clear which channel counts.
        StoreUnavailable: disk or database cannot take more now; run the import again later.
    """
    origin = Origin(uuid.uuid4().hex, _channel(app, channel).id, kind="import")
    counts: Counter[Disposition] = Counter()

    def count(imported: Imported) -> None:
        if imported.result in _DISPOSITIONS:
            counts[_DISPOSITIONS[imported.result]] += 1
        on_progress(imported)

    app.rows.start()
    try:
        report = import_objects(
            find_objects(paths),
            files=app.files,
            accept=app.accept,
            origin=origin,
            on_progress=count,
            has_room=_room(app) if keeps_floor else lambda _: True,
        )
    finally:
        _end(app, origin, counts, by or login())
    seal(app.database)
    Working(app).describer.describe_all()
    if app.uploader is not None:
        while app.uploader.upload_some():
            pass
    return report


def _room(app: App) -> Callable[[int], bool]:
    """Return what says whether more bytes may be written; what it allows is written at once."""
    space = FreeSpace(app.places, app.configuration.site.receiver.min_free_bytes, app.clock)

    def has_room(size: int) -> bool:
        if not space.promise(size):
            if space.fault is not None:
                raise space.fault
            return False
        space.give_back(size)
        return True

    return has_room


def _end(app: App, origin: Origin, counts: Counter[Disposition], by: str) -> None:
    """Note the end of the import, which settles its studies as the end of an association does."""
    now = app.clock.now()
    channel = app.configuration.channel(origin.channel)
    with app.database.write() as connection:
        end_association(
            connection,
            origin,
            reason="released",
            counts=counts,
            now=now,
            receiver=app.receiver,
            by=by,
        )
        if channel is not None and channel.settle.on_release:
            look_at_studies_now(connection, [origin.association_id], now)


def _channel(app: App, name: str | None) -> Channel:
    channels = app.configuration.channels
    if name is None:
        if len(channels) == 1:
            return channels[0]
        reason = "there are several channels" if channels else "there is no channel"
        raise ConfigurationError(f"{reason}; say which one counts for the import with --channel")
    found = app.configuration.channel(name)
    if found is None:
        known = ", ".join(channel.id for channel in channels) or "none"
        raise ConfigurationError(f"there is no channel {name}; the channels are: {known}")
    return found
