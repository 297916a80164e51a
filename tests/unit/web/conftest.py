"""What tests of pages share."""

from __future__ import annotations

from pathlib import Path

import pytest

from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.schema import Configuration
from tests.support.site_folder import write_site


@pytest.fixture
def configured(tmp_path: Path) -> Configuration:
    """The configuration of a site with one FHIR destination."""
    ehr = {"type": "fhir", "base_url": "http://127.0.0.1:9/fhir"}
    write_site(tmp_path, database="sqlite:///x.db", port=4104, destinations={"ehr": ehr})
    return load_configuration(tmp_path)
