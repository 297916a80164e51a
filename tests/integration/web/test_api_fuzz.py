"""Schemathesis over the OpenAPI document, against a site with studies: W-04."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from intu_fhir.web.access.roles import Role
from tests.support.api import V1, Api
from tests.support.studies import uid

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "unsupported_method",
    "allow_header_conformance",
)
"""All but ``ignored_auth``: the table of routes and roles is tried in ``test_access.py``."""

PHASES = {"sqlite": "fuzzing", "postgresql": "coverage"}
"""Values at the limits of the schema, one by one; and values by chance. Both on both takes long."""

EXAMPLES = 4
SEED = "20260301"

CONFIG = """\
[parameters]
"path.uid" = "{study}"
"path.series" = "{series}"
"path.key" = {key}

[checks]
# A statement that is no SQL, and wishes that contradict each other, fit the schema.
positive_data_acceptance.expected-statuses = ["2xx", 400, 404, 409]
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_that_is_sent_breaks_it(api: Api, tmp_path: Path) -> None:
    """Whatever is sent, no answer is 5xx, and each is of a status and shape that is documented."""
    kind = "sqlite" if api.served.page.site.database.is_sqlite else "postgresql"
    report = api.get(f"/studies/{uid('good')}")["report"]
    (tmp_path / "schemathesis.toml").write_text(
        CONFIG.format(
            study=uid("good"),
            series=report["series"][0]["series_instance_uid"],
            key=report["resources"][0]["resource_key"],
        )
    )
    token = api.tokens[Role.ADMINISTRATOR]["authorization"]
    url = f"{api.served.url}{V1}/openapi.json"
    options = {
        "--header": f"Authorization: {token}",
        "--checks": ",".join(CHECKS),
        "--phases": PHASES[kind],
        "--max-examples": str(EXAMPLES),
        "--seed": SEED,
        "--workers": "2",
        "--generation-database": "none",
    }
    given = [part for option in options.items() for part in option]
    program = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            program,
            "run",
            url,
            *given,
            "--suppress-health-check",
            "all",
            "--no-shrink",
            "--no-color",
            "--continue-on-failure",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=850,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-50_000:] + done.stderr[-5_000:]
    assert "Tested: 30" in done.stdout, done.stdout
