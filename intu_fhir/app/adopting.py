"""Files of the store that no row speaks of: staged anew, as after a restore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from intu_fhir.app.importing import import_paths
from intu_fhir.app.wiring import App
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

    Files in quarantine are left alone: nothing is published from there.

    Args:
        channel: id of the channel whose settings count; not needed where there is only one.

    Raises:
        ConfigurationError: it is not clear which channel counts.
        StoreUnavailable: disk or database cannot take more now; adopt again later.
    """
    chosen = [name for name in names if name.startswith(PART)]
    name_of = {str(app.files.path(name)): name for name in chosen}
    done: list[str] = []

    def note(imported: Imported) -> None:
        if imported.result in _KEPT and imported.name in name_of:
            done.append(name_of[imported.name])
        on_progress(imported)

    report = import_paths(app, [Path(path) for path in name_of], channel=channel, on_progress=note)
    app.files.remove_all(done)
    return report
