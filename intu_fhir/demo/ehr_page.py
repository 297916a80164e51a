"""The start page of the stand-in EHR: what it holds, for a person's eyes."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from intu_fhir.demo.fhir_store import Resource

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .6rem;
border-bottom:1px solid #8886}caption{text-align:left;font-weight:600;padding:.5rem 0}
"""


def start_page(resources: Iterable[Resource], release: str) -> str:
    """Return an HTML page with a table for each resource type; every value is escaped."""
    by_type: dict[str, list[Resource]] = {}
    for resource in resources:
        by_type.setdefault(resource["resourceType"], []).append(resource)
    tables = "".join(_table(kind, held) for kind, held in sorted(by_type.items()))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Stand-in EHR</title><style>{_STYLE}</style><h1>Stand-in EHR</h1>"
        f"<p>A small FHIR {escape(release.upper())} server for demonstrations and tests. "
        '<a href="fhir/metadata">What it offers</a></p>'
        f"{tables or '<p>It holds nothing yet.</p>'}</html>"
    )


def _table(kind: str, resources: list[Resource]) -> str:
    rows = "".join(_row(resource) for resource in resources)
    return (
        f"<table><caption>{escape(kind)} ({len(resources)})</caption>"
        '<tr><th scope="col">Resource</th><th scope="col">Version</th>'
        f'<th scope="col">What</th><th scope="col">Identifiers</th></tr>{rows}</table>'
    )


def _row(resource: Resource) -> str:
    place = f"{resource['resourceType']}/{resource['id']}"
    identifiers = ", ".join(str(i.get("value", "")) for i in resource.get("identifier", []))
    version = str(resource["meta"]["versionId"])
    return (
        f'<tr><td><a href="fhir/{escape(place)}">{escape(place)}</a></td>'
        f'<td><a href="fhir/{escape(place)}/_history">{escape(version)}</a></td>'
        f"<td>{escape(_summary(resource))}</td><td>{escape(identifiers)}</td></tr>"
    )


def _summary(resource: Resource) -> str:
    if resource["resourceType"] == "Patient":
        name: Resource = next(iter(resource.get("name", [])), {})
        return " ".join([*map(str, name.get("given", [])), str(name.get("family", ""))])
    if resource["resourceType"] == "ImagingStudy":
        counts = (
            f"{resource.get('numberOfSeries', '?')} series, "
            f"{resource.get('numberOfInstances', '?')} instances"
        )
        return ": ".join(filter(None, (str(resource.get("description", "")), counts)))
    return str(resource.get("status", ""))
