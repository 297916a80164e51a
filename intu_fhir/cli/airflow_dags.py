"""``intu-fhir airflow-dags``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from intu_fhir.cli.amount import Amount
from intu_fhir.cli.program import Program, command, say
from intu_fhir.engines.airflow.file import dag_file, pools_file
from intu_fhir.engines.airflow.plan import AirflowOptions, drains, pools_of, require_known

_DEFAULT = AirflowOptions()
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)


def _name(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Refuse what cannot be the name of a DAG and of a module."""
    if not _NAME.fullmatch(value):
        raise click.BadParameter("letters, digits and _, a letter first")
    return value


def _slots(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> Mapping[str, int]:
    """Read ``ehr_fhir=4``."""
    slots = {}
    for value in values:
        name, _, number = value.partition("=")
        if not number.isdecimal() or not 1 <= int(number) <= 100:
            raise click.BadParameter(f"{value} is not DESTINATION=NUMBER, 1 to 100")
        slots[name] = int(number)
    return slots


@command(
    "airflow-dags",
    "intu-fhir airflow-dags /opt/airflow/dags --config /etc/intu-fhir",
    "intu-fhir airflow-dags dags --slots ehr_fhir=4 --pools",
)
@click.argument("dags", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--name",
    metavar="NAME",
    default=_DEFAULT.name,
    callback=_name,
    show_default=True,
    help="What the names of the DAGs begin with; one for each site in the same Airflow.",
)
@click.option(
    "--every",
    type=Amount(10, 3_600),
    metavar="SECONDS",
    default=_DEFAULT.every_seconds,
    show_default=True,
    help="How often tasks are started; each works for that long.",
)
@click.option(
    "--slots",
    multiple=True,
    callback=_slots,
    metavar="DESTINATION=N",
    help="Processes that deliver to a destination at the same time. Default: 1.",
)
@click.option("--pools", is_flag=True, help="Give each destination a pool, and write those too.")
def airflow_dags_command(
    program: Program, dags: Path, name: str, every: float, slots: Mapping[str, int], pools: bool
) -> None:
    """Write the file of DAGs by which Apache Airflow does the work.

    In place of `worker`: receivers stay as they are. Airflow needs this package beside it
    (`pip install '.[airflow]'` in the checkout) and the same configuration folder.
    """
    configuration = program.configuration()
    site = configuration.site
    options = AirflowOptions(name=name, every_seconds=every, slots=slots)
    require_known(site, options)
    if pools:
        options = replace(options, pools=pools_of(site, name))
    planned = [one.dag_id for one in drains(site, options)]
    _write(dags / f"{name}.py", dag_file(configuration.folder, options))
    if pools:
        path = dags / f"{name}_pools.json"
        _write(path, pools_file(site, options))
        say(f"Next: airflow pools import {path}  (tasks of a pool that is missing never start)")
    batch = [f"{name}_{kind}" for kind in ("rebuild", "replay", "prune")]
    say(f"DAGs: {', '.join([*planned, *batch])}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    say(f"written  {path}")
