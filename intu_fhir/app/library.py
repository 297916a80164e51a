"""The product as a library: build, ask, run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from intu_fhir.app.reading import Source, read_studies
from intu_fhir.app.serving import Site
from intu_fhir.app.wiring import open_app
from intu_fhir.build.imaging_study import BuildContext, Built
from intu_fhir.build.imaging_study import build_imaging_study as build
from intu_fhir.build.validate import validate_resource
from intu_fhir.db.readonly import Result, read_only_query
from intu_fhir.errors import InvalidDataSet
from intu_fhir.mappings import Release, attributes_of, load_mapping
from intu_fhir.settings.load import load_configuration


def build_imaging_study(
    instances: Iterable[Source],
    release: Release = "r4",
    *,
    mapping: Path | None = None,
    context: BuildContext | None = None,
) -> Built:
    """Build the ImagingStudy of one study from files, folders or data sets in memory.

    No database and no server is needed. ``Built.findings`` holds what was noticed in the
    headers and what validation found; a finding of severity ``error`` makes the resource unfit
    to be sent.

    Args:
        release: ``r4`` (4.0.1 and 4.3.0) or ``r5``.
        mapping: a mapping file instead of the shipped one.
        context: what the build needs to know of the site, such as its time zone.

    Raises:
        InvalidDataSet: there is no DICOM object, one cannot be read, or there are several studies.
        InvalidUid: a UID is missing or invalid.
        ConfigurationError: the mapping file is wrong.
    """
    wanted = load_mapping(mapping)
    studies = read_studies(instances, attributes_of([wanted]).levels)
    if len(studies) > 1:
        raise InvalidDataSet(f"There are {len(studies)} studies; give the instances of one")
    [study] = studies
    built = build(study, wanted, release, context or BuildContext())
    findings = (*study.findings, *built.findings, *validate_resource(built.resource, release))
    return Built(built.resource, findings)


@contextmanager
def query_staging(url: str, sql: str, *, timeout_seconds: float = 60.0) -> Iterator[Result]:
    """Ask the staging database something in SQL; it cannot be changed this way.

    Args:
        url: an SQLAlchemy URL, as ``database`` in ``intu.yaml``.
    """
    with read_only_query(url, sql, timeout_seconds=timeout_seconds) as result:
        yield result


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """Run the site of a configuration folder inside this program, to the end of the block.

    Raises:
        ConfigurationError: the configuration is wrong, a port is taken.
    """
    site = Site(open_app(load_configuration(folder)))
    site.start()
    try:
        yield site
    finally:
        site.stop()
