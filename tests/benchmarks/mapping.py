"""How fast studies become validated FHIR: ``python -m tests.benchmarks.mapping``.

Prints Markdown and writes it to ``tests/benchmarks/results/mapping.md``. Needs nothing but the
development packages; PostgreSQL is measured where it is installed. Best on a machine that does
nothing else; the ratios of one run mean more than its absolute figures.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fhir.resources.R4B.imagingstudy import (
    ImagingStudy,
    ImagingStudySeries,
    ImagingStudySeriesInstance,
)

from intu_fhir.build.imaging_study import build_imaging_study
from intu_fhir.build.step import BuildStep, ChannelPlan
from intu_fhir.build.validate import validate_resource
from intu_fhir.db.resources import VALID
from intu_fhir.db.study_headers import load_headers
from intu_fhir.mappings import acquisition_modalities
from intu_fhir.model.canonical import canonical_json
from intu_fhir.model.study import Study
from intu_fhir.model.work import AGGREGATE, BUILD
from intu_fhir.observe.logging import configure_logging
from intu_fhir.pipeline.runner import Lane
from tests.benchmarks import report
from tests.benchmarks.studies_in_rows import Rows, site_of_rows
from tests.support.databases import PostgresCluster, postgresql_program, sqlite_url
from tests.support.programs import find

RESULT = Path(__file__).parent / "results" / "mapping.md"
SIZES = (50, 500, 2_500, 5_000)
SMALL_STUDIES, IN_SMALL = 600, 10

Resource = dict[str, Any]


@dataclass(frozen=True)
class Ways:
    """The ways from staged rows to an ImagingStudy that are compared, for one study."""

    rows: Rows
    step: BuildStep
    plan: ChannelPlan
    study_key: int

    def ours(self) -> bytes:
        """From staged rows to validated JSON bytes."""
        built = self.step.build_release(self.study(), self.plan, "r4")
        assert built.state == VALID, built.findings
        assert built.resource is not None
        return canonical_json(built.resource)

    def study(self) -> Study:
        """The study in memory, merged from its rows."""
        with self.rows.app.database.snapshot() as connection:
            return self.rows.working.load_study(connection, self.study_key, 1)[0]

    def mapped(self, study: Study) -> bytes:
        """From the merged study to JSON bytes, without database and gate."""
        return canonical_json(self._built(study))

    def gated(self, study: Study) -> bytes:
        """From the merged study to validated JSON bytes, without the database."""
        resource = self._built(study)
        assert validate_resource(resource, "r4") == ()
        return canonical_json(resource)

    def _built(self, study: Study) -> Resource:
        return build_imaging_study(study, self.plan.mapping, "r4", self.step.context).resource

    def plain(self) -> bytes:
        """From staged rows to JSON bytes with a loop by hand: no mapping, no validation."""
        with self.rows.app.database.snapshot() as connection:
            headers = load_headers(
                connection, self.study_key, acquisition_modalities=acquisition_modalities()
            )
        series = [
            {
                "uid": uid,
                "instance": [
                    {
                        "uid": one.uid,
                        "sopClass": {
                            "system": "urn:ietf:rfc:3986",
                            "code": f"urn:oid:{one.sop_class_uid}",
                        },
                        "number": int(str(one.values.get("InstanceNumber", 0))),
                    }
                    for one in found.instances
                ],
            }
            for uid, found in headers.series.items()
        ]
        return canonical_json({"resourceType": "ImagingStudy", "series": series})


def models_by_instance(resource: Resource) -> str:
    """Build the same study from models: each instance, each series, then the study."""
    series = [
        ImagingStudySeries(
            **{**one, "instance": [ImagingStudySeriesInstance(**each) for each in one["instance"]]}
        )
        for one in resource["series"]
    ]
    text: str = ImagingStudy(**{**resource, "series": series}).model_dump_json()
    return text


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    """Return the middle time of one call."""
    times = []
    for _ in range(rounds):
        gc.collect()
        begun = time.perf_counter()
        work()
        times.append((time.perf_counter() - begun) * 1_000)
    return statistics.median(times)


WAYS = (
    "rows to validated bytes",
    "study to validated bytes",
    "study to bytes",
    "rows to a plain dict",
    "model_validate",
    "models",
)


def one_size(rows: Rows, study_key: int, rounds: int) -> Mapping[str, float]:
    """Return the middle time of each way, in milliseconds, the ways in turn."""
    working = rows.working
    [plan] = working.build.plans.values()
    ways = Ways(rows, working.build, plan, study_key)
    study = ways.study()
    resource = ways.step.build_release(study, plan, "r4").resource
    assert resource is not None
    todo: Sequence[Callable[[], object]] = (
        ways.ours,
        lambda: ways.gated(study),
        lambda: ways.mapped(study),
        ways.plain,
        lambda: ImagingStudy.model_validate(resource),
        lambda: models_by_instance(resource),
    )
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, work in zip(WAYS, todo, strict=True):
            found[name].append(milliseconds(work, 1))
    return {name: statistics.median(times) for name, times in found.items()}


def sizes(rounds: int) -> str:
    """Compare the ways over sizes of studies."""
    with tempfile.TemporaryDirectory(prefix="intu-bench-") as folder:
        place = Path(folder)
        rows = site_of_rows(place, sqlite_url(place / "staging.db"))
        with closing(rows.app.database):
            for number, size in enumerate(SIZES, start=1):
                rows.add_study(number, size)
            found = {
                size: one_size(rows, number, rounds) for number, size in enumerate(SIZES, start=1)
            }
    for size, times in found.items():
        _say(f"{size}: " + ", ".join(f"{name} {t:.1f} ms" for name, t in times.items()))
    return "\n\n".join(
        (
            f"## One study, milliseconds\n\nMiddle of {rounds} rounds, R4, series of a hundred "
            "images. The first column is the product's own way: SQL, merging, the shipped "
            "mapping, schema and semantic checks, JSON. The second leaves SQL and merging out, "
            "the third the checks as well. The fourth writes UIDs, SOP classes and numbers of the "
            "same rows with a loop. The fifth is the schema check of fhir.resources alone, of a "
            "dict that is there. The sixth builds models of fhir.resources for each instance, each "
            "series and the study from values that are there, and JSON of them.",
            report.table(
                ["images", *WAYS],
                [[str(size), *(f"{t[name]:.1f}" for name in WAYS)] for size, t in found.items()],
            ),
            report.table(
                [
                    "images",
                    "rows to bytes : model_validate",
                    "models : study to bytes",
                    "models : study to validated bytes",
                    "rows to bytes − plain dict, ms",
                ],
                [[str(size), *_ratios(times)] for size, times in found.items()],
            ),
        )
    )


def _ratios(times: Mapping[str, float]) -> list[str]:
    ours, gated, mapped, plain, validate, models = (times[name] for name in WAYS)
    return [
        f"{ours / validate:.2f}",
        f"{models / mapped:.1f}",
        f"{models / gated:.1f}",
        f"{ours - plain:.1f}",
    ]


def small_studies(url: str, folder: Path) -> list[str]:
    """Return how many small studies settle and are built per minute of one core, SQL included."""
    rows = site_of_rows(folder, url)
    with closing(rows.app.database):
        for number in range(1, SMALL_STUDIES + 1):
            rows.add_study(number, IN_SMALL)
        runner = rows.runner()
        begun, cpu = time.perf_counter(), time.process_time()
        for step in (AGGREGATE, BUILD):
            lane, done = Lane(step), 0
            while runner.run_one(lane):
                done += 1
            assert done == SMALL_STUDIES, f"{step}: {done} studies"
        took, used = time.perf_counter() - begun, time.process_time() - cpu
    return [f"{SMALL_STUDIES / took * 60:,.0f}", f"{SMALL_STUDIES / used * 60:,.0f}"]


def throughput() -> str:
    """Measure small studies on each database."""
    found: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="intu-bench-") as folder:
        place = Path(folder)
        found["SQLite"] = small_studies(sqlite_url(place / "staging.db"), place)
    if find(postgresql_program("postgres")):
        cluster = PostgresCluster(fsync=True)
        try:
            with tempfile.TemporaryDirectory(prefix="intu-bench-") as folder:
                url = cluster.url(cluster.create())
                found["PostgreSQL"] = small_studies(url, Path(folder))
        finally:
            cluster.stop()
    return "\n\n".join(
        (
            f"## Small studies per minute\n\n{SMALL_STUDIES} studies of {IN_SMALL} images, one "
            "thread, both databases durable: settled, conflicts looked for, merged, built as R4, "
            "validated, written, deliveries put into the queue. The last column is the ceiling "
            "of one core: the thread waits for the disk otherwise.",
            report.table(
                ["database", "studies a minute", "studies a minute of processor time"],
                [[name, *figures] for name, figures in found.items()],
            ),
        )
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    configure_logging(level="WARNING")
    parser.add_argument("--rounds", type=int, default=9, help="how often everything is measured")
    given = parser.parse_args()
    parts = (sizes(given.rounds), throughput())
    text = "\n\n".join((f"# The mapping's speed\n\n{report.ground()}.", *parts)) + "\n"
    print(text)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
