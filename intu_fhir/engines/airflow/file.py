"""The file that goes into Airflow's folder of DAGs: a few lines that name the site."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from intu_fhir.engines.airflow.plan import AirflowOptions, pool_sizes
from intu_fhir.settings.schema import Site

_HEAD = '''"""The DAGs of a site of intu-fhir for Apache Airflow.

Written by `intu-fhir airflow-dags`, which may write it anew at any time. The destinations are read
from the configuration, so a new one needs no new file.
"""

from intu_fhir.app.airflow import site_dags

globals().update(
'''


def dag_file(folder: Path, options: AirflowOptions) -> str:
    """Return the text of the file; what is left at its default is left out."""
    lines = [f"    site_dags(\n        {str(folder)!r},"]
    lines += [
        f"        {one.name}={value!r},"
        for one in fields(options)
        if (value := getattr(options, one.name)) != getattr(AirflowOptions(), one.name)
    ]
    return _HEAD + "\n".join([*lines, "    )", ")", ""])


def pools_file(site: Site, options: AirflowOptions) -> str:
    """Return what ``airflow pools import`` reads."""
    pools: Mapping[str, object] = {
        name: {
            "slots": slots,
            "description": "tasks that deliver; fewer make it slower, 0 stops it",
            "include_deferred": False,
        }
        for name, slots in pool_sizes(site, options).items()
    }
    return json.dumps(pools, indent=2) + "\n"
