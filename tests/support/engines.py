"""The engines as their users start and stop them, so that one suite of tests holds for all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from tests.support.airflow import Airflow
from tests.support.waiting import wait_until

KINDS = ("local", "airflow")
_END_SECONDS = 60.0

DAG_FILE = '''"""DAGs of a site of intu-fhir, for Airflow."""
from intu_fhir.app.airflow import site_dags

globals().update(site_dags({folder!r}, **{options}))
'''


class EngineAtWork(Protocol):
    """An engine of a site, with workers in processes of their own."""

    def start(self) -> None:
        """Begin to work; once more beside what works already, where it is called again."""

    def stop(self) -> None:
        """End in good order; on return nobody works."""


class LocalWorkers:
    """``intu-fhir worker``, twice at each start: who is killed leaves another alive."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Run two more workers."""
        program = str(Path(sys.executable).with_name("intu-fhir"))
        command = [program, "worker", "--config", str(self._folder), "--log-level", "WARNING"]
        self._processes += [subprocess.Popen(command) for _ in range(2)]

    def stop(self) -> None:
        """End all that are still alive, by SIGTERM."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(_END_SECONDS)
        self._processes.clear()


class AirflowDags:
    """The DAGs of a site in a running Airflow; each start adds a set of them.

    Args:
        name: tells the site from others in the same Airflow.
    """

    def __init__(self, airflow: Airflow, folder: Path, name: str, **options: object) -> None:
        self._airflow, self._folder, self.name = airflow, folder, name
        self._options = {"every_seconds": 120, "finish_seconds": 20, **options}
        self._starts = 0

    def start(self) -> None:
        """Bring one more file of DAGs into Airflow's folder; what was stopped stays paused."""
        self._starts += 1
        name = f"{self.name}{self._starts}"
        self.write(self._airflow.dags / f"{name}.py", {**self._options, "name": name})

    def write(self, path: Path, options: dict[str, object]) -> None:
        """Write a file of DAGs."""
        path.write_text(DAG_FILE.format(folder=str(self._folder), options=json.dumps(options)))

    def stop(self) -> None:
        """Pause the DAGs and end their runs; return once the processes of all tasks are gone."""
        if self._starts:
            wait_until(self._are_known, _END_SECONDS, "DAGs to pause")
        self._airflow.pause(self.name)
        self._airflow.end_runs(self.name)

    def _are_known(self) -> bool:
        known = self._airflow.dag_ids(self.name)
        return all(f"{self.name}{n}_prepare" in known for n in range(1, self._starts + 1))

    def remove(self) -> None:
        """Take the files of DAGs out of Airflow again."""
        for path in self._airflow.dags.glob(f"{self.name}*.py"):
            path.unlink()
