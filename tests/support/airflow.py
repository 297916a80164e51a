"""A running Apache Airflow: scheduler, DAG processor and API server, on the loopback interface.

It lives in an environment of its own (``make airflow``), as large programs do, and keeps its
metadata in PostgreSQL: on SQLite its scheduler ends where the machine is busy ("database is
locked"). Tests speak to it as people do: by files of DAGs and its REST API.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.support.data import REPOSITORY
from tests.support.databases import PostgresServer
from tests.support.ports import free_port
from tests.support.programs import missing
from tests.support.waiting import wait_until

_START_SECONDS, _STOP_SECONDS = 180.0, 8.0
USER = "alice"


def airflow_program() -> str:
    """Return the path of Airflow's command, or skip the test."""
    path = REPOSITORY / ".venv-airflow" / "bin" / "airflow"
    if not path.is_file():
        missing("Apache Airflow; run `make airflow`")
    return str(path)


class Airflow:
    """Airflow with a folder of its own; ``start`` and ``stop`` as often as a test wants.

    Args:
        home: logs and DAGs.
        server: where its metadata go.
    """

    def __init__(self, home: Path, server: PostgresServer) -> None:
        self.home, self.port = home, free_port()
        self.schedulers = 1
        self._server, self._template, self._metadata = server, "", ""
        self._program = airflow_program()
        self._password = secrets.token_urlsafe(16)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._jwt_secret = secrets.token_hex(32)
        self.dags = home / "dags"
        self.dags.mkdir(parents=True)
        passwords = home / "passwords.json"
        passwords.write_text(json.dumps({USER: self._password}))
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def _environment(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.port}"
        metadata = self._server.url(self._metadata)
        settings = {
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": "24",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
            "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
            "API__BASE_URL": address,
            "API_AUTH__JWT_SECRET": self._jwt_secret,
            "DATABASE__SQL_ALCHEMY_CONN": metadata,
            "DATABASE__SQL_ALCHEMY_CONN_ASYNC": metadata,
            "DAG_PROCESSOR__REFRESH_INTERVAL": "1",
            "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        }
        ours = {f"AIRFLOW__{name}": value for name, value in settings.items()}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "VIRTUAL_ENV"))}
        return kept | ours | {"AIRFLOW_HOME": str(self.home)}

    def command(self, *arguments: str) -> str:
        """Run a command of Airflow to its end and return what it prints."""
        return subprocess.run(
            [self._program, *arguments],
            env=self._environment(),
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout

    def renew_metadata(self) -> None:
        """Let it have metadata as they are before all work, whatever was in them."""
        if not self._template:
            self._metadata = self._server.create()
            self.command("db", "migrate")
            self._template = self._metadata
        else:
            self._server.drop(self._metadata)
        self._metadata = self._server.create(self._template)

    def start(self) -> None:
        """Start all of it; on return DAGs are read and scheduled."""
        port = str(self.port)
        self._spawn("api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1")
        for _ in range(self.schedulers):
            self._spawn("scheduler", "--skip-serve-logs")
        self._spawn("dag-processor")
        wait_until(self._is_healthy, _START_SECONDS, "a healthy Airflow")
        answer = self.client.post(
            "/auth/token", json={"username": USER, "password": self._password}
        )
        answer.raise_for_status()
        self.client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def add_scheduler(self) -> None:
        """Start one more scheduler on the same metadata, now and with each start from now on."""
        self.schedulers += 1
        self._spawn("scheduler", "--skip-serve-logs")

    def alive_schedulers(self) -> int:
        """Return how many schedulers run, by Airflow's own record of them."""
        jobs = self.get("jobs", job_type="SchedulerJob", is_alive=True)
        return int(jobs["total_entries"])

    def _spawn(self, *arguments: str) -> None:
        with (self.home / f"{arguments[0]}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [self._program, *arguments],
                    env=self._environment(),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # so that what it leaves behind can be ended too
                )
            )

    def _is_healthy(self) -> bool:
        dead = [one.args for one in self._processes if one.poll() is not None]
        assert not dead, f"ended at once: {dead}; see {self.home}"
        with contextlib.suppress(httpx.HTTPError):
            health = self.client.get("/api/v2/monitor/health").json()
            return all(
                health[part]["status"] == "healthy"
                for part in ("metadatabase", "scheduler", "dag_processor")
            )
        return False

    def stop(self) -> None:
        """End all of it, and every process that it left behind."""
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.1))
        self.kill()

    def close(self) -> None:
        """Stop, and speak to it no more."""
        self.stop()
        self.client.close()
        for name in filter(None, (self._metadata, self._template)):
            self._server.drop(name)

    def kill(self) -> None:
        """End all of it as a power cut would, tasks included."""
        for process in self._processes:
            for pid in _session(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    # ---- its REST API

    def get(self, path: str, **query: Any) -> Any:
        """Return what a GET below ``/api/v2/`` gives."""
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: Any) -> Any:
        """Return what a POST below ``/api/v2/`` gives."""
        return self._ask("POST", path, json=body)

    def patch(self, path: str, body: Any) -> Any:
        """Return what a PATCH below ``/api/v2/`` gives."""
        return self._ask("PATCH", path, json=body)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        answer = self.client.request(method, f"/api/v2/{path}", **more)
        assert answer.is_success, f"{answer.status_code}: {answer.text}"
        return answer.json()

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the runs of a DAG, the newest first."""
        found = self.get(f"dags/{dag_id}/dagRuns", order_by="-run_after", limit=100)
        return list(found["dag_runs"])

    def tasks(self, dag_id: str, run_id: str = "~") -> list[dict[str, Any]]:
        """Return the task instances of a DAG."""
        found = self.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=100)
        return list(found["task_instances"])

    def log(self, task: dict[str, Any], attempt: int = 1) -> str:
        """Return the log of a try of a task, as its page shows it."""
        path = f"dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances"
        return json.dumps(self.get(f"{path}/{task['task_id']}/logs/{attempt}"))

    def dag_ids(self, name: str) -> list[str]:
        """Return the DAGs whose name begins so."""
        found = self.get("dags", limit=100)["dags"]
        return sorted(dag["dag_id"] for dag in found if dag["dag_id"].startswith(name))

    def import_errors(self) -> list[str]:
        """Return what Airflow says of files of DAGs that it cannot read."""
        return [one["stack_trace"] for one in self.get("importErrors")["import_errors"]]

    def pause(self, name: str) -> None:
        """Pause the DAGs whose name begins so."""
        for dag_id in self.dag_ids(name):
            self.patch(f"dags/{dag_id}", {"is_paused": True})

    def running(self, name: str) -> list[dict[str, Any]]:
        """Return the tasks that run now, of the DAGs whose name begins so."""
        found = self.get("dags/~/dagRuns/~/taskInstances", state="running", limit=100)
        return [one for one in found["task_instances"] if one["dag_id"].startswith(name)]

    def end_runs(self, name: str) -> None:
        """Mark the runs of DAGs as failed, as a person may do on the page; return once all of
        their processes have ended.
        """
        ended = {one["id"] for one in self.running(name)}
        for dag_id in self.dag_ids(name):
            for run in self.runs(dag_id):
                if run["state"] in {"queued", "running"}:
                    path = f"dags/{dag_id}/dagRuns/{run['dag_run_id']}"
                    self.patch(path, {"state": "failed"})
        wait_until(lambda: not self.processes(ended), 120, "the end of the processes of tasks")

    def processes(self, task_ids: Collection[str]) -> list[int]:
        """Return the processes that run these tasks now; Airflow names them by the task's id."""
        titles = {f"airflow worker -- {one}".encode() for one in task_ids}
        leaders = [process.pid for process in self._processes]
        return [pid for one in leaders for pid in _session(one) if _title(pid) in titles]


def _title(pid: int) -> bytes:
    """Return what a process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0")
    except OSError:
        return b""


def _session(leader: int) -> Iterator[int]:
    """Give the processes of a session, which are those that its leader has started."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader:
            yield int(entry.name)
