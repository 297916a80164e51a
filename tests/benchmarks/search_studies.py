"""How long pages of the web take where a million studies are staged.

Run: ``python -m tests.benchmarks.search_studies [--rows N] [--on sqlite|postgresql]``. It prints
Markdown; ``results/search_studies.md`` keeps the last one.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import sqlalchemy as sa

from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from intu_fhir.db.study_states import STUDY_STATES
from tests.benchmarks.report import ground, table
from tests.support.databases import PostgresCluster, sqlite_url
from tests.support.web import Served, serving, token_in

ROWS = 1_000_000
TIMES = 60
LIMIT_MILLISECONDS = 200
_SPREAD = 100_003
"""A prime: what is asked for is spread over all rows."""

_N = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})"


def fill(database: Database, rows: int) -> None:
    """Stage studies over a year: most are delivered, one in ten thousand failed.

    Nine of ten were made on the day on which they came, the others came from an archive. One in a
    thousand is PT, and XA is there in the second half of the year only.
    """
    is_postgres = database.engine.dialect.name == "postgresql"
    at = (
        "TIMESTAMPTZ '2024-01-01 00:00:00+00' + n * INTERVAL '31 seconds'"
        if is_postgres
        else "strftime('%Y-%m-%d %H:%M:%f000', 1704067200 + n * 31, 'unixepoch')"
    )
    numbers = _N.format(rows=rows)
    senders = _N.format(rows=1000)
    day = (
        f"to_char({at}, 'YYYYMMDD')"
        if is_postgres
        else "strftime('%Y%m%d', 1704067200 + n * 31, 'unixepoch')"
    )
    old = "CAST(20100101 + n % 28 + n % 12 * 100 + n % 14 * 10000 AS text)"
    chance = "n % 1009 * 7919 % 1009"  # the same in every run, and alike in all parts of the year
    modality = (
        f"CASE WHEN {chance} = 0 THEN 'PT' WHEN n > {rows // 2} AND {chance} < 30 THEN 'XA' "
        f"WHEN {chance} < 400 THEN 'MR' ELSE 'CT' END"
    )
    dead = "n % 10000 = 0"
    statements = (
        f"INSERT INTO associations (association_id, kind, channel, calling_ae_title, started_at) "
        f"{senders} SELECT 'a' || n, 'network', 'radiology', 'AE_' || (n % 50), {at} FROM numbers",
        f"INSERT INTO studies (study_key, study_instance_uid, channel, first_received_at, "
        f"last_received_at, revision, generation, number_of_instances, number_of_series, "
        f"patient_id, patient_name, accession_number, study_date, study_description, modalities) "
        f"{numbers} SELECT n, '1.2.3.' || n, 'radiology', {at}, {at}, 100, 1, 100, 1, "
        f"'P' || (n % 300000), 'Family' || (n % 99991) || '^Given' || (n % 97), 'A' || n, "
        f"CASE WHEN n % 10 = 0 THEN {old} ELSE {day} END, 'Description ' || (n % 500), {modality} "
        f"FROM numbers",
        f"INSERT INTO series (study_key, series_instance_uid, number_of_instances, modality) "
        f"{numbers} SELECT n, '1.2.4.' || n, 100, {modality} FROM numbers",
        f"INSERT INTO association_studies (association_id, study_key) "
        f"{numbers} SELECT 'a' || (n % 1000 + 1), n FROM numbers",
        f"INSERT INTO work (study_key, step, want, have, state, updated_at) {numbers} "
        f"SELECT n, 'aggregate', 100, 100, 'done', {at} FROM numbers",
        f"INSERT INTO work (study_key, step, want, have, state, updated_at) {numbers} "
        f"SELECT n, 'build', 1, 1, 'done', {at} FROM numbers",
        f"INSERT INTO deliveries (study_key, destination, want, have, state, updated_at, "
        f"last_error, first_failed_at) {numbers} SELECT n, 'ehr', 1, "
        f"CASE WHEN {dead} THEN 0 ELSE 1 END, CASE WHEN {dead} THEN 'dead' ELSE 'delivered' END, "
        f"{at}, CASE WHEN {dead} THEN 'HTTP 422: refused; mend it' ELSE '' END, "
        f"CASE WHEN {dead} THEN {at} END FROM numbers",
        f"INSERT INTO deliveries (study_key, destination, want, have, state, updated_at) {numbers} "
        f"SELECT n, 'pacs', 1, 1, 'delivered', {at} FROM numbers",
    )
    for statement in statements:
        with database.write() as connection:
            connection.execute(sa.text(statement))
    if is_postgres:
        with database.write() as connection:
            connection.execute(sa.text("ANALYZE"))


Ask = Callable[[httpx.Client, str, int], httpx.Response]


def _search(**fields: Callable[[int], str]) -> Ask:
    def ask(client: httpx.Client, token: str, n: int) -> httpx.Response:
        values = {name: value(n) for name, value in fields.items()}
        return client.post("/studies", data={"form_token": token, **values})

    return ask


def _page(path: str) -> Ask:
    return lambda client, _token, _n: client.get(path)


def _after(n: int) -> str:
    at = datetime(2024, 1, 1, tzinfo=UTC).timestamp() + n * 31
    return f"{int(at * 1_000_000)}.{n}"


CASES: dict[str, Ask] = {
    "studies, first page": _page("/studies"),
    "studies, a page far down": _search(after=_after),
    "patient ID": _search(patient_id=lambda n: f"P{n % 300000}"),
    "patient ID, its beginning": _search(patient_id=lambda n: f"P{n % 300}*"),
    "patient ID, its end": _search(patient_id=lambda n: f"*{n % 1000}"),
    "patient ID that nobody has, its end": _search(patient_id=lambda n: f"*nobody{n}"),
    "accession number": _search(accession_number=lambda n: f"A{n}"),
    "accession number, its beginning": _search(accession_number=lambda n: f"A{n % 1000}*"),
    "name, its beginning": _search(patient_name=lambda n: f"family{n % 99991}"),
    "name, one letter": _search(patient_name=lambda n: "f"),
    "name, a part of it": _search(patient_name=lambda n: f"*given{n % 97}"),
    "name, that nobody has": _search(patient_name=lambda n: f"nobody{n}"),
    "name, a part that nobody has": _search(patient_name=lambda n: f"*nobody{n}"),
    "study date": _page("/studies?day=2024-03-05"),
    "study dates, a month": _page("/studies?day=2024-03-01&until=2024-03-31"),
    "study dates, ten years": _page("/studies?day=2014-01-01&until=2024-12-31"),
    "study dates, far down": _search(
        day=lambda n: "2014-01-01", until=lambda n: "2024-12-31", after=lambda n: f"d20240301.{n}"
    ),
    "modality of every second": _page("/studies?modality=CT"),
    "modality of every thousandth": _page("/studies?modality=PT"),
    "modality that nobody has": _page("/studies?modality=NM"),
    "calling AE title": _page("/studies?calling_ae_title=AE_7"),
    "calling AE title that nobody has": _page("/studies?calling_ae_title=NOBODY"),
    **{f"state {state}": _page(f"/studies?state={state}") for state in STUDY_STATES},
    "destination": _page("/studies?destination=ehr"),
    "destination that nobody has": _page("/studies?destination=nobody"),
    "modality and a fortnight": _page("/studies?modality=MR&day=2024-03-05&until=2024-03-20"),
    "modality and a year": _page("/studies?modality=PT&day=2024-01-01&until=2024-12-31"),
    "modality that was not there then": _page(
        "/studies?modality=XA&day=2024-01-01&until=2024-04-30"
    ),
    "sender and modality": _page("/studies?calling_ae_title=AE_7&modality=MR"),
    "sender and a fortnight": _page(
        "/studies?calling_ae_title=AE_7&day=2024-03-05&until=2024-03-20"
    ),
    "state and a fortnight": _page("/studies?state=delivered&day=2024-03-05&until=2024-03-20"),
    "name and a month": _search(
        patient_name=lambda n: f"family{n % 9}",
        day=lambda n: "2024-03-01",
        until=lambda n: "2024-03-31",
    ),
    "name and modality": _search(patient_name=lambda n: f"family{n % 99}", modality=lambda n: "MR"),
    "grid": _page("/grid"),
    "grid, state failed": _page("/grid?state=failed"),
    "grid, state staged (none)": _page("/grid?state=staged"),
    "overview": _page("/"),
    "failures": _page("/failures"),
    "holds and quarantine": _page("/review"),
    "destinations": _page("/destinations"),
    "audit": _page("/audit"),
    "one study": lambda client, _token, n: client.get(f"/studies/1.2.3.{n}"),
}


def measure(served: Served, rows: int) -> dict[str, list[float]]:
    """Return the milliseconds of each answer by case."""
    found: dict[str, list[float]] = {}
    with served.client() as client:
        token = token_in(client.get("/studies").text)
        for name, ask in CASES.items():
            ask(client, token, 1)
            for turn in range(TIMES):
                n = (turn + 1) * _SPREAD % rows + 1
                started = time.perf_counter()
                answer = ask(client, token, n)
                found.setdefault(name, []).append((time.perf_counter() - started) * 1000)
                assert answer.status_code == 200, f"{name}: {answer.status_code}"
            print(f"{name}: {_p95(found[name]):.0f} ms", file=sys.stderr)
    return found


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[18]


@contextlib.contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """Give an empty database."""
    if kind == "sqlite":
        yield sqlite_url(folder / "staging.db")
        return
    cluster = PostgresCluster()
    try:
        yield cluster.url(cluster.create())
    finally:
        cluster.stop()


def run(kind: str, rows: int) -> dict[str, list[float]]:
    """Fill a database of a kind and measure."""
    folder = Path(tempfile.mkdtemp(prefix="intu-search-"))
    try:
        with database_of(kind, folder) as url:
            migrate.upgrade(url)
            with contextlib.closing(Database(url)) as database:
                fill(database, rows)
            destinations = {
                "ehr": {"type": "fhir", "base_url": "http://127.0.0.1:9/fhir", "release": "r4"},
            }
            with serving(folder, url, destinations=destinations) as served:
                return measure(served, rows)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--on", choices=["sqlite", "postgresql"], action="append")
    wanted = parser.parse_args()
    kinds = wanted.on or ["sqlite", "postgresql"]
    found = {kind: run(kind, wanted.rows) for kind in kinds}
    head = ["question"]
    for kind in kinds:
        head += [f"{kind}, middle", f"{kind}, 95 %"]
    lines = []
    for name in CASES:
        cells = [name]
        for kind in kinds:
            values = found[kind][name]
            cells += [f"{statistics.median(values):.0f} ms", f"{_p95(values):.0f} ms"]
        lines.append(cells)
    print(f"{wanted.rows:,} studies; {TIMES} times each, over HTTP, page by page made anew.\n")
    print(f"{ground()}\n")
    print(table(head, lines))


if __name__ == "__main__":
    main()
