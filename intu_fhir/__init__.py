"""DICOM in, FHIR ImagingStudy out, with a SQL database that knows the truth about every study.

As a library: ``build_imaging_study`` builds without any server, ``query_staging`` asks the
staging database, ``running_site`` runs a site inside another program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intu_fhir.app.library import build_imaging_study, query_staging, running_site

__all__ = ["build_imaging_study", "query_staging", "running_site"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: the rooms below need none of it."""
    if name in __all__:
        from intu_fhir.app import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
