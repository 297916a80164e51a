"""The one list of generated pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tools.docs.api import api_page
from tools.docs.cli import cli_page
from tools.docs.configuration import configuration_page
from tools.docs.conformance import conformance_page
from tools.docs.fhir_conformance import fhir_conformance_page
from tools.docs.mapping import mapping_page
from tools.docs.mapping_schema import mapping_schema
from tools.docs.metrics import metrics_page
from tools.docs.outcomes import outcomes_page
from tools.docs.schema import schema_page

REPOSITORY = Path(__file__).resolve().parents[2]

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/conformance/dicom-conformance-statement.md": conformance_page,
    "docs/conformance/fhir-conformance-statement.md": fhir_conformance_page,
    "docs/reference/api.md": api_page,
    "docs/reference/cli.md": cli_page,
    "docs/reference/configuration.md": configuration_page,
    "docs/reference/mapping.md": mapping_page,
    "docs/reference/metrics.md": metrics_page,
    "docs/reference/outcomes.md": outcomes_page,
    "docs/reference/schema.md": schema_page,
    "mappings/imaging_study.schema.json": mapping_schema,
}
