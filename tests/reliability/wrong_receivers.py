"""Tests of the network's and content's faults, each on a receiver that has to fail it.

``python -m tests.reliability.wrong_receivers`` runs them and says which were caught.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.support.data import REPOSITORY

_SECONDS = 300
_PEERS, _CONTENT = "tests/integration/receive", "tests/integration/app/test_content.py"
_HOSTILE, _IDENTITY = f"{_PEERS}/test_hostile_peers.py", "tests/integration/app/test_identity.py"


@dataclass(frozen=True)
class Case:
    """A receiver that is wrong, and a test that has to find it.

    Args:
        fault: id of what the test is for.
        wrong: name in ``tests.support.wrong_receivers``.
        test: id of the test.
    """

    fault: str
    wrong: str
    test: str


CASES = (
    Case(
        "N-01",
        "without-limits-of-associations",
        f"{_HOSTILE}::test_associations_of_one_address_are_limited",
    ),
    Case("N-02", "without-deadlines", f"{_HOSTILE}::test_idle_association_is_closed"),
    Case(
        "N-03",
        "without-a-look-at-lengths",
        f"{_HOSTILE}::test_pdu_of_impossible_length_aborts_at_its_header[2^31-1]",
    ),
    Case(
        "N-04",
        "without-a-limit-of-objects",
        f"{_HOSTILE}::test_object_above_the_limit_is_refused_with_a_status",
    ),
    Case(
        "N-05",
        "without-certificates-of-clients",
        f"{_PEERS}/test_tls_peers.py::test_clients_without_a_good_certificate_are_refused",
    ),
    Case(
        "N-08",
        "on-any-context",
        f"{_PEERS}/test_protocol_states.py::test_data_set_on_another_context_aborts",
    ),
    Case("N-09", "on-the-wall-clock", f"{_HOSTILE}::test_lifetime_runs_on_the_monotonic_clock"),
    Case(
        "N-10",
        "without-grace",
        f"{_PEERS}/test_stopping.py::test_object_in_hand_is_finished_and_answered",
    ),
    Case("F-03", "without-limits-of-reading", f"{_CONTENT}::test_bomb_is_refused_early[sqlite]"),
    Case(
        "F-04",
        "without-limits-of-reading",
        f"{_CONTENT}::test_nesting_has_a_setting[sqlite]",
    ),
    Case(
        "F-05",
        "that-mends-text",
        f"{_CONTENT}::test_invalid_text_stays_as_it_is[sqlite-ISO_IR 192-invalid utf-8]",
    ),
    Case(
        "D-01",
        "that-keeps-each-copy",
        f"{_IDENTITY}::test_same_object_from_twenty_senders_is_one[sqlite]",
    ),
    Case(
        "D-02",
        "that-takes-other-bytes-for-the-same",
        f"{_IDENTITY}::test_other_bytes_do_not_replace_the_first[sqlite]",
    ),
    Case(
        "D-05",
        "that-takes-any-uid",
        f"{_IDENTITY}::test_invalid_uid_in_the_data_set_is_refused[sqlite-StudyInstanceUID-letters]",
    ),
)


def caught() -> dict[str, bool]:
    """Run every case; say by the id of its fault whether its test failed.

    A test that could not be run is not there.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-p", "tests.support.wrongly", "-q"]
        command += ["-p", "no:cacheprovider", f"--junitxml={report}", f"--basetemp={folder}/tests"]
        which = {case.test: case.wrong for case in CASES}
        subprocess.run(
            [*command, *which],
            cwd=REPOSITORY,
            env={**os.environ, "INTU_WRONG": json.dumps(which)},
            timeout=_SECONDS,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        failed = _failures(report)
    return {case.fault: failed[name] for case in CASES if (name := _short(case.test)) in failed}


def _failures(report: Path) -> dict[str, bool]:
    """Return by the name of a test whether it failed in its own steps, not in its fixtures."""
    found = ElementTree.parse(report).getroot().iter("testcase")
    return {
        str(case.get("name")): case.find("failure") is not None
        for case in found
        if case.find("skipped") is None and case.find("error") is None
    }


def _short(test: str) -> str:
    return test.rpartition("::")[2]


def main() -> int:
    """Run them; exit 1 if one was not caught."""
    found = caught()
    for case in CASES:
        said = {True: "caught", False: "NOT CAUGHT", None: "could not be run"}
        print(f"{case.fault} {case.wrong}: {said[found.get(case.fault)]} by {_short(case.test)}")
    return not all(found.get(case.fault) for case in CASES)


if __name__ == "__main__":
    sys.exit(main())
