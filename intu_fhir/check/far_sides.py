"""Asks the destinations of a site whether they are there and take what we have."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial

import httpx

from intu_fhir.check.row import CheckRow
from intu_fhir.deliver.answers import Answer
from intu_fhir.deliver.capability import UNKNOWN, Capability
from intu_fhir.deliver.commitment_scu import CommitmentScu
from intu_fhir.deliver.decoding import missing_decoders
from intu_fhir.deliver.dicom import StorageScu
from intu_fhir.deliver.exchange import origin_of
from intu_fhir.deliver.fhir import FhirClient
from intu_fhir.deliver.scrub import scrub
from intu_fhir.deliver.tls import ANSWERS_PLAINLY
from intu_fhir.errors import IntuError
from intu_fhir.model.extra import install
from intu_fhir.model.outcome import Dead, Retry
from intu_fhir.observe.clock import Clock
from intu_fhir.settings.schema import Configuration, DicomDestination, FhirDestination

PATIENCE_SECONDS = 10.0
"""How long a destination may take to answer."""

_AT_ONCE = 8
_SAY_NO = frozenset({401, 403})
_NOT_THERE = 404


def check_destinations(configuration: Configuration, clock: Clock) -> Iterator[CheckRow]:
    """Ask all destinations, side by side, and tell in the order of the configuration."""
    destinations = configuration.site.destinations
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check") as pool:
        asked = [
            pool.submit(check_destination, name, destination, clock)
            for name, destination in destinations.items()
        ]
        for answer in asked:
            yield answer.result()


def check_destination(
    name: str, destination: FhirDestination | DicomDestination, clock: Clock
) -> CheckRow:
    """Ask one destination whether it is there and takes what we have."""
    patience = min(destination.timeout_seconds, PATIENCE_SECONDS)
    hurried = destination.model_copy(update={"timeout_seconds": patience})
    try:
        if isinstance(hurried, FhirDestination):
            row = _fhir(name, hurried, clock)
            return row if row.ok else _with_address(row, hurried)
        return _dicom(name, hurried)
    except IntuError as error:
        detail, _, remedy = str(error).partition("; ")
        return CheckRow("destination", name, False, detail, remedy)


def _with_address(row: CheckRow, destination: FhirDestination) -> CheckRow:
    """Name the server's address, unless what went wrong names it already."""
    url = httpx.URL(str(destination.base_url))
    if origin_of(url) in row.detail:
        return row
    return replace(row, detail=f"{row.detail} ({scrub(str(url))})")


_HTTP = "the server speaks http there: correct base_url, or the port in it"


def _fhir(name: str, destination: FhirDestination, clock: Clock) -> CheckRow:
    with closing(FhirClient(destination, clock=clock)) as client:
        return _fhir_server(partial(CheckRow, "destination", name), destination, client)


def _fhir_server(
    row: partial[CheckRow], destination: FhirDestination, client: FhirClient
) -> CheckRow:
    said = client.metadata()
    if isinstance(said, (Retry, Dead)):
        remedy = "correct base_url, tls or auth, or start the server"
        return row(False, said.detail, _HTTP if ANSWERS_PLAINLY in said.detail else remedy)
    if not said.speaks(destination.release):
        return row(False, f"speaks FHIR {said.fhir_version}", "set release to what it speaks")
    kind, wanted = "ImagingStudy", destination.publish.document_reference
    if wanted == "instead" or (wanted == "fallback" and not said.takes_imaging_study):
        kind = "DocumentReference"
    if not said.of(kind).takes:
        return row(False, *_not_taken(said, kind))
    # What it can do is often told to everyone, so we ask as what we are.
    answer = client.call("GET", f"{kind}?_count=0")
    status = answer.status
    if status in _SAY_NO:
        return row(False, f"answers {status} to a search", "correct auth, or its permissions")
    if said == UNKNOWN and not _speaks_fhir(answer):
        found = f"no FHIR here: no CapabilityStatement, and {status} to a search of {kind}"
        return row(False, found, "correct base_url: the address below which /metadata is")
    return row(True, "; ".join(filter(None, _taken(said, kind))))


def _speaks_fhir(answer: Answer) -> bool:
    """Say whether a FHIR server may have given this answer to a search of a type it takes.

    What is no FHIR server answers anything with 404, or with 200 and a page for people. A search
    may be refused otherwise, such as by 405, where a server only takes.
    """
    return answer.resource("Bundle") is not None if answer.ok else answer.status != _NOT_THERE


def _not_taken(said: Capability, kind: str) -> tuple[str, str]:
    """Return what the server offers, in its own words, and what to do."""
    if kind != "ImagingStudy":
        quoted = f"{said.quote()}; {said.of(kind).quote()}"
        return quoted, f"ask its administrator to offer ImagingStudy or {kind}"
    remedy = "ask its administrator to offer ImagingStudy"
    if said.of("DocumentReference").takes:
        remedy += ", or set publish.document_reference: fallback"
    return said.quote(), remedy


def _taken(said: Capability, kind: str) -> Iterator[str]:
    """Yield what the server is, and what a person should know of it."""
    what = " ".join(part for part in (said.software, said.fhir_version) if part)
    yield what or "answers, and does not say what it is"
    if kind != "ImagingStudy":
        yield f"studies go as {kind}"
        yield "" if said.takes_imaging_study else said.quote()
    if said.known and not said.of(kind).guards_creates:
        yield "only plain create, so publish from one installation alone"


def _dicom(name: str, destination: DicomDestination) -> CheckRow:
    row = partial(CheckRow, "destination", name)
    outcome = StorageScu(destination).echo()
    if isinstance(outcome, (Retry, Dead)):
        remedy = "correct host, port or AE titles, or ask its administrator"
        return row(False, outcome.detail, remedy)
    if destination.transcode != "never" and (missing := missing_decoders()):
        return row(False, f"cannot decompress {', '.join(missing)}", install("transcode"))
    there = f"{destination.called_ae_title} answers C-ECHO"
    if destination.commitment is None:
        return row(True, there)
    return _commitment(row, CommitmentScu(destination, destination.commitment), there)


def _commitment(row: partial[CheckRow], scu: CommitmentScu, there: str) -> CheckRow:
    outcome = scu.offered()
    if isinstance(outcome, (Retry, Dead)):
        detail, _, remedy = outcome.detail.partition("; ")
        return row(False, detail, remedy or "correct commitment of this destination, or remove it")
    return row(True, f"{there} and takes requests for storage commitment")
