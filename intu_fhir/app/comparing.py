"""An object in quarantine beside the instance that is staged under its UID."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from intu_fhir.db.instances import staged_as
from intu_fhir.db.review import QuarantineRow, find_quarantined
from intu_fhir.db.session import Database
from intu_fhir.errors import IntuError
from intu_fhir.files.store import FileStore, Openable
from intu_fhir.settings.schema import Site
from intu_fhir.stage.differing import Difference, differences
from intu_fhir.stage.encodings import Buffer
from intu_fhir.stage.part10 import HEAD_BYTES, find_data_set


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is kept aside, what is staged, and in what they differ.

    Args:
        kept_file: where it can be read: a path, or an address in the object store.
        staged_file: likewise of the staged instance; empty where none is staged any more.
        differences: None where they cannot be compared; ``why`` says it.
    """

    kept: QuarantineRow
    kept_file: str
    staged_file: str
    staged_study_instance_uid: str
    staged_series_instance_uid: str
    differences: list[Difference] | None = None
    why: str = ""


def where(site: Site, file: str) -> str:
    """Return where a file of the store can be read."""
    if isinstance(site.files, Path):
        return str((site.files / file).absolute())
    return f"{site.files.rstrip('/')}/{file}"


def compare_quarantined(
    site: Site, database: Database, files: FileStore, number: int
) -> Comparison | None:
    """Compare an object in quarantine with what is staged; None where there is no such object."""
    with database.read() as connection:
        kept = find_quarantined(connection, number)
        staged = staged_as(connection, kept.sop_instance_uid) if kept else None
    if kept is None:
        return None
    if staged is None:
        why = "no instance is staged under its UID any more"
        return Comparison(kept, where(site, kept.file), "", "", "", why=why)
    found, why = _compare(files, staged.file, kept.file)
    return Comparison(
        kept,
        where(site, kept.file),
        where(site, staged.file),
        staged.study_instance_uid,
        staged.series_instance_uid,
        found,
        why,
    )


def _compare(files: FileStore, staged: str, kept: str) -> tuple[list[Difference] | None, str]:
    doing = "staged"
    try:
        with _data_set(files.file(staged)) as one:
            doing = "kept"
            with _data_set(files.file(kept)) as other:
                return differences(one, other), ""
    except FileNotFoundError:
        return None, f"the {doing} file is not there"
    except ValueError:
        return None, f"the {doing} file holds no data set"
    except (OSError, IntuError) as error:
        return None, f"the {doing} file cannot be read ({type(error).__name__})"


@contextmanager
def _data_set(file: Openable) -> Iterator[tuple[Buffer, str]]:
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as whole,
    ):
        place = find_data_set(bytes(whole[:HEAD_BYTES]))
        if place is None:
            raise ValueError("no data set")
        with whole[place.offset :] as data_set:
            yield data_set, place.transfer_syntax_uid
