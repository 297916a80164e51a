"""Makes the DAGs of a site. Only a process of Airflow imports this."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from intu_fhir.engines.airflow.plan import AirflowOptions, Drain, drains
from intu_fhir.engines.airflow.request import STATES
from intu_fhir.errors import ConfigurationError, PermanentError
from intu_fhir.settings.schema import Site

_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)
"""Before any image of a site: a backfill may reach back as far."""

_RETRIES, _RETRY_SECONDS = 2, 5.0
_DEFAULT_POOL = "default_pool"


@dataclass(frozen=True, slots=True)
class Doers:
    """What the tasks call; each takes ``folder`` and what is said here, by keyword.

    Args:
        drain: ``kind``, ``destination``, ``seconds``, ``grace_seconds``.
        prune: nothing more.
        rebuild: the context of the task.
        replay: the context of the task.
    """

    drain: Callable[..., object]
    prune: Callable[..., object]
    rebuild: Callable[..., object]
    replay: Callable[..., object]


def make_dags(folder: str, site: Site, options: AirflowOptions, doers: Doers) -> dict[str, DAG]:
    """Return the DAGs of a site by name.

    Args:
        folder: of ``intu.yaml``, where the tasks run.
    """
    made = [_drain_dag(folder, one, options, doers.drain) for one in drains(site, options)]
    made += _batch_dags(folder, site, options, doers)
    return {dag.dag_id: dag for dag in made}


def _drain_dag(
    folder: str, plan: Drain, options: AirflowOptions, drain: Callable[..., object]
) -> DAG:
    """Return a DAG that is started often, each time to work until the next has begun."""
    whom = f"Delivers to {plan.destination}" if plan.destination else "Settles and builds studies"
    dag = _dag(
        plan.dag_id,
        f"{whom}; what is due stands in the staging database",
        schedule=timedelta(seconds=plan.every_seconds),
        max_active_runs=plan.max_active_runs,
        max_active_tasks=plan.max_active_runs * plan.slots,
        dagrun_timeout=timedelta(seconds=plan.seconds + options.finish_seconds + 600),
    )
    what = {"kind": plan.kind, "destination": plan.destination, "seconds": plan.seconds}
    for task_id in plan.task_ids():
        _task(
            dag,
            task_id,
            drain,
            folder,
            pool=plan.pool or _DEFAULT_POOL,
            grace_seconds=options.finish_seconds,
            **what,
        )
    return dag


def _batch_dags(folder: str, site: Site, options: AirflowOptions, doers: Doers) -> Iterator[DAG]:
    """Give the DAGs of work that people ask for, and of what removes files and old rows."""
    rebuild = _dag(
        f"{options.name}_rebuild",
        "Builds the studies of a day again; a backfill sends what differs",
        schedule=CronDataIntervalTimetable("0 0 * * *", site.time_zone or "UTC"),
        max_active_runs=1,
    )
    _task(rebuild, "rebuild", partial(_when_asked, doers.rebuild), folder)
    replay = _dag(
        f"{options.name}_replay",
        "Puts deliveries and failed steps back; trigger it with what you select",
        schedule=None,
        params=replay_params(site),
    )
    _task(replay, "replay", doers.replay, folder)
    yield from (rebuild, replay)
    prune = _dag(
        f"{options.name}_prune",
        "Removes replaced files, and what is old by the rule of the site",
        schedule=timedelta(minutes=site.retention.every_minutes),
        max_active_runs=1,
    )
    _task(prune, "prune", doers.prune, folder)
    yield prune


def _tried(call: Callable[..., object], **context: Any) -> object:
    """Do it; what would fail again in the same way is not tried again."""
    try:
        return call(**context)
    except (ConfigurationError, PermanentError) as error:
        raise AirflowFailException(str(error)) from error


def _when_asked(call: Callable[..., object], **context: Any) -> object:
    """Do it for a backfill or a person; a backfill needs a schedule, but its runs need not work."""
    if context["dag_run"].run_type == "scheduled":
        raise AirflowSkipException("a day is built again by a backfill, or when it is triggered")
    return call(**context)


def _dag(dag_id: str, description: str, **more: Any) -> DAG:
    """Return a DAG of ours: it works as soon as it is there, and makes up for no time missed."""
    return DAG(
        dag_id,
        description=description,
        start_date=_BEGIN,
        catchup=False,
        is_paused_upon_creation=False,
        tags={"intu-fhir"},
        **more,
    )


def _task(
    dag: DAG,
    task_id: str,
    call: Callable[..., object],
    folder: str,
    *,
    pool: str = _DEFAULT_POOL,
    **more: Any,
) -> None:
    PythonOperator(
        dag=dag,
        task_id=task_id,
        python_callable=partial(_tried, call),
        op_kwargs={"folder": folder, **more},
        pool=pool,
        retries=_RETRIES,
        retry_delay=timedelta(seconds=_RETRY_SECONDS),
        do_xcom_push=True,
    )


def replay_params(site: Site) -> Mapping[str, Param]:
    """Return the form by which somebody selects what to replay."""
    text = ["null", "string"]
    time = {"type": text, "format": "date-time"}
    named = [None, *site.destinations]
    return {
        "study": Param(None, "Study Instance UID", type=text),
        "destination": Param(None, "At one destination", type=text, enum=named),
        "states": Param([], f"Any of {', '.join(STATES)}; none = dead and retrying", type="array"),
        "since": Param(None, "Changed since; to rebuild: received since", **time),
        "until": Param(None, "Changed before; to rebuild: received before", **time),
        "where": Param(None, "SQL over the columns of intu-fhir replay --columns", type=text),
        "cause": Param(None, "For this cause", type=text),
        "all": Param(False, "Needed where nothing else is selected", type="boolean"),
        "rebuild": Param(False, "Build again first: the mapping changed", type="boolean"),
        "force": Param(False, "Send again what the destination has", type="boolean"),
        "per_minute": Param(None, "Pace", type=["null", "number"], exclusiveMinimum=0),
        "dry_run": Param(False, "Only say what would be done", type="boolean"),
        "reason": Param("", "Why, for the audit trail", type="string", maxLength=400),
    }
