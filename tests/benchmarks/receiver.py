"""How fast the receiver is, beside others: ``python -m tests.benchmarks.receiver``.

Prints Markdown and writes it to ``tests/benchmarks/results/receiver.md``; with ``--only`` some of
its parts, and the others stay as they are. What is compared has to
be installed; on Debian: ``apt install dcmtk orthanc orthanc-postgresql postgresql gcc``. What is
missing is named and left out. Best on a machine that does nothing else; the ratios of one run
mean more than its absolute figures.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import memory, nagle, receivers, report
from tests.benchmarks.rates import CELLS, measure
from tests.benchmarks.receivers import Receiver
from tests.benchmarks.staged import stocked_postgresql, stocked_sqlite
from tests.support.databases import PostgresCluster

RESULT = Path(__file__).parent / "results" / "receiver.md"


@dataclass(frozen=True)
class Plan:
    """What to measure with.

    Args:
        instances: about how many images a receiver gets in each column and round.
    """

    cluster: PostgresCluster
    instances: int
    rounds: int

    def rates(self) -> str:
        """Compare all receivers."""
        limit, other = receivers.raw_loop(), receivers.pynetdicom_storescp()
        limit_of_all = receivers.raw_loop_of_all()
        orthanc = receivers.orthanc()
        orthanc_postgresql = receivers.orthanc_postgresql(self.cluster)
        sqlite = receivers.ours_sqlite()
        postgresql = receivers.ours_postgresql(self.cluster)
        two = receivers.ours_sqlite(processes=2)
        two_postgresql = receivers.ours_postgresql(self.cluster, processes=2)
        serving = receivers.ours_sqlite("serve")
        storescp = receivers.storescp()
        wanted = [limit, limit_of_all, storescp, orthanc, orthanc_postgresql, other]
        here = _here([*wanted, sqlite, two, postgresql, two_postgresql, serving])
        pairs = [
            (sqlite, orthanc),
            (sqlite, limit),
            (sqlite, limit_of_all),
            (sqlite, other),
            (postgresql, orthanc_postgresql),
            (postgresql, limit_of_all),
            (two, sqlite),
            (two_postgresql, postgresql),
            (limit, orthanc),
            (limit_of_all, orthanc),
            (serving, orthanc),
        ]
        rates = measure(here, CELLS, instances=self.instances, rounds=self.rounds, say=_say)
        measured = [(one, two) for one, two in pairs if {one, two} <= set(here)]
        return "\n\n".join(
            (
                f"## Images per second\n\nMiddle of {self.rounds} rounds. One sender for all: one "
                "outstanding C-STORE per association, PDUs of 128 KB, Nagle's algorithm off. CT "
                "is 512 by 512 pixels of 16 bits, small is 64 by 64. DCMTK and Orthanc run with "
                "TCP_NODELAY=1, without which they wait 40 ms for each answer's acknowledgement.",
                report.rates_table(rates, here, CELLS),
                report.ratios_table(rates, measured, CELLS),
            )
        )

    def nagle(self) -> str:
        """Compare receivers as shipped, with senders as shipped."""
        sqlite = receivers.ours_sqlite()
        others = [receivers.storescp(), receivers.orthanc(), receivers.pynetdicom_storescp()]
        shipped = [dataclasses.replace(one, environment=()) for one in others]
        here = _here([*shipped, sqlite])
        rates = nagle.measure_stock_senders(here, rounds=self.rounds, say=_say)
        pairs = [(sqlite, one) for one in shipped if one in here]
        without = receivers.ours_without_quickack()
        own = [sqlite, without]
        cost = measure(own, CELLS, instances=self.instances, rounds=self.rounds, say=_say)
        return "\n\n".join(
            (
                "## Stock DCMTK senders, small images per second\n\nOne association, Nagle's "
                "algorithm on, receivers as they are shipped, connection and reading of files "
                "included.",
                report.rates_table(rates, here, nagle.SENDERS),
                report.ratios_table(rates, pairs, nagle.SENDERS),
                "What asking for acknowledgements at once costs where the sender has Nagle's "
                "algorithm off:",
                report.rates_table(cost, own, CELLS),
                report.ratios_table(cost, [(sqlite, without)], CELLS),
            )
        )

    def memory(self) -> str:
        """Measure memory while large objects arrive."""
        own = [receivers.ours_sqlite(), receivers.ours_sqlite("serve")]
        rows = []
        for one in own:
            before, peak = memory.peak_megabytes(one)
            rows.append([one.name, f"{before:.0f}", f"{peak:.0f}"])
            _say(f"{one.name}: {before:.0f} MB, at most {peak:.0f} MB")
        return "\n\n".join(
            (
                f"## Memory\n\n{memory.ASSOCIATIONS} associations, each with one multi-frame "
                f"object of {memory.object_megabytes():.0f} MB, at the same time.",
                report.table(["receiver", "MB before", "MB at most"], rows),
            )
        )

    def staged(self) -> str:
        """Compare an empty database with one that holds a million instances."""
        with contextlib.ExitStack() as stack:
            pairs = [
                stack.enter_context(stocked_sqlite()),
                stack.enter_context(stocked_postgresql(self.cluster)),
            ]
            own = [one for pair in pairs for one in pair]
            rates = measure(own, CELLS, instances=self.instances, rounds=self.rounds, say=_say)
        return "\n\n".join(
            (
                f"## With a million instances staged\n\nMiddle of {self.rounds} rounds. Before "
                "each measurement a copy of the million is written, and used or left alone.",
                report.rates_table(rates, own, CELLS),
                report.ratios_table(rates, pairs, CELLS),
            )
        )


PARTS: dict[str, Callable[[Plan], str]] = {
    "rates": Plan.rates,
    "nagle": Plan.nagle,
    "memory": Plan.memory,
    "staged": Plan.staged,
}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--instances", type=int, default=800, help="about so many at a time")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts")
    given = parser.parse_args()
    cluster = PostgresCluster(fsync=True)
    try:
        plan = Plan(cluster, given.instances, given.rounds)
        parts = [PARTS[name](plan) for name in given.only]
    finally:
        cluster.stop()
    print("\n\n".join(parts))
    RESULT.parent.mkdir(exist_ok=True)
    old = RESULT.read_text(encoding="utf-8") if RESULT.is_file() else ""
    RESULT.write_text(report.page("The receiver's speed", parts, old), encoding="utf-8")


def _here(wanted: Sequence[Receiver]) -> list[Receiver]:
    for one in wanted:
        if one.missing:
            _say(f"left out: {one.name}; it needs {one.missing}")
    return [one for one in wanted if not one.missing]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
