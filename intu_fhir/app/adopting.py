"""Files of the store that no row speaks of: staged anew, as after a restore."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from intu_fhir.app.importing import import_paths
from intu_fhir.app.wiring import App
from intu_fhir.db.kept_files import close_the_past, files_with_row
from intu_fhir.errors import DamagedFile, StoreUnavailable, UnknownKey
from intu_fhir.files.local import LocalFileStore
from intu_fhir.files.writers import somebody_writes
from intu_fhir.stage.import_files import Imported, ImportReport, Result

_KEPT = frozenset({Result.STORED, Result.ALREADY_STORED, Result.DUPLICATE, Result.QUARANTINED})
PART = "instances/"


def adopt_files(
    app: App,
    names: Sequence[str],
    *,
    channel: str | None = None,
    on_progress: Callable[[Imported], None] = lambda _: None,
) -> ImportReport:
    """Import files of the store by name, then remove what is staged under a new name now.

    Files in quarantine are left alone: nothing is published from there. A file whose row came
    meanwhile stays, whoever wrote it.

    Args:
        channel: id of the channel whose settings count; not needed where there is only one.

    Raises:
        ConfigurationError: it is not clear which channel counts.
        StoreUnavailable: disk or database cannot take more now, or another process writes into
            the file store; adopt again later.
    """
    if somebody_writes(app.files.root / "writers"):
        raise StoreUnavailable(
            "A process that receives or imports writes into this file store, and its files have no "
            "row yet while it does; stop it, then adopt"
        )
    chosen = [name for name in names if name.startswith(PART)]
    uid_of: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="adopting-", dir=app.files.root) as folder:
        places = _Places(app.files, chosen, Path(folder))

        def note(imported: Imported) -> None:
            if imported.result in _KEPT and imported.name in places.name_of:
                uid_of[places.name_of[imported.name]] = imported.sop_instance_uid
            on_progress(imported)

        report = import_paths(app, places, channel=channel, keeps_floor=False, on_progress=note)
    app.files.remove_all(_without_row(app, uid_of))
    return report


def _without_row(app: App, uid_of: Mapping[str, str]) -> set[str]:
    """Return the files that no row speaks of, and none will: each of these objects has its row.

    One that was being received when it was found here may be the very file of that row.
    """
    if not uid_of:
        return set()
    with app.database.write() as connection:
        close_the_past(connection)
        return uid_of.keys() - files_with_row(connection, uid_of)


class _Places:
    """Where files can be read: in the store's folder, or one by one fetched from the bucket."""

    def __init__(self, files: LocalFileStore, names: Sequence[str], folder: Path) -> None:
        self._files, self._names, self._folder = files, names, folder
        self.name_of: dict[str, str] = {}

    def __iter__(self) -> Iterator[Path]:
        for name in self._names:
            path = self._files.path(name)
            here = path.exists()
            if not here:
                path = self._fetched(name)
            self.name_of[str(path)] = name
            yield path
            if not here:
                # Emptied, not removed: the next one would get its inode, and be taken for it.
                os.truncate(path, 0)

    def _fetched(self, name: str) -> Path:
        """Copy a file from the bucket; what is damaged comes out empty, and is refused as such."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as copy:
            try:
                copy.writelines(self._files.blocks(name))
            except UnknownKey:
                raise
            except (DamagedFile, FileNotFoundError):
                copy.truncate(0)
        return path
