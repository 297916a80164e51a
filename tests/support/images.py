"""A DICOMweb service over imported files, and clients of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from intu_fhir.app.importing import import_paths
from tests.support.ports import free_port
from tests.support.studies import write_file
from tests.support.web import Served, serving

PATH = "/dicom-web"


@contextmanager
def serving_images(
    folder: Path,
    database: str,
    images: Iterable[Path],
    *,
    web: dict[str, Any] | None = None,
    dicomweb: dict[str, Any] | None = None,
    **site: Any,
) -> Iterator[Served]:
    """Serve DICOM files by DICOMweb, staged as the batch door stages them.

    Its address is configured: dicomweb-client leaves the port out of its Host header.

    Args:
        web: keys of the section ``web``.
        dicomweb: keys of the section ``web.dicomweb``.
    """
    port = free_port()
    here = {"url": f"http://127.0.0.1:{port}{PATH}", **(dicomweb or {})}
    wanted = {"port": port, **(web or {}), "dicomweb": here}
    with serving(folder, database, web=wanted, **site) as served:
        import_paths(served.app, list(images))
        yield served


def client_of(served: Served, **options: Any) -> DICOMwebClient:
    """Return a client that knows DICOMweb from its standard alone."""
    return DICOMwebClient(url=served.url + PATH, **options)


def write_all(folder: Path, data_sets: Iterable[Dataset]) -> list[Path]:
    """Write data sets as files, one after the other."""
    return [write_file(one, folder / f"{number}.dcm") for number, one in enumerate(data_sets)]


def texts(data_set: dict[str, Any], tag: str) -> list[Any]:
    """Return the values of an element in the DICOM JSON model."""
    found: list[Any] = data_set[tag].get("Value", [])
    return found
