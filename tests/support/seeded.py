"""Studies put straight into the staging tables, in any state that a test wants to look at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from intu_fhir.db import tables as t
from intu_fhir.model.work import AGGREGATE, BUILD, DELIVERED, DONE, RETRYING, RUNNING, WAITING
from tests.support.clock import START
from tests.support.studies import uid

_DUE = {WAITING, RETRYING, RUNNING}


def stage(
    connection: Connection,
    name: str,
    *,
    at: datetime = START,
    calling_ae_title: str = "CT_SCANNER_1",
    modality: str = "CT",
    instances: int = 2,
    generation: int = 1,
    revision: int | None = None,
    build: str | None = DONE,
    deliveries: Mapping[str, str] | None = None,
    **columns: Any,
) -> int:
    """Put one study in place and return its key.

    Args:
        name: names the study; its UID is ``tests.support.studies.uid(name)``.
        at: when its only association began; each later event follows a second later.
        revision: staged content that aggregation still has to reach; default: it has.
        build: state of the build step, None = not asked for yet.
        deliveries: state by destination.
        columns: columns of ``studies``, such as ``patient_id``.
    """
    study_key = _insert(
        connection,
        t.studies,
        study_instance_uid=uid(name),
        channel="radiology",
        first_received_at=at,
        last_received_at=at + timedelta(seconds=1),
        revision=revision or instances,
        generation=generation,
        number_of_series=1,
        number_of_instances=instances,
        **{"patient_id": "P1", "patient_name": "Sample^Sam", "study_date": "20240229"} | columns,
    )
    _stage_content(connection, name, study_key, at, calling_ae_title, modality, instances)
    _queue(
        connection,
        t.work,
        study_key,
        DONE if revision is None else WAITING,
        want=revision or instances,
        at=at,
        step=AGGREGATE,
    )
    if build is not None:
        _queue(connection, t.work, study_key, build, want=generation, at=at, step=BUILD)
    for destination, state in (deliveries or {}).items():
        _queue(
            connection,
            t.deliveries,
            study_key,
            state,
            want=generation,
            at=at,
            destination=destination,
        )
    return study_key


def _stage_content(
    connection: Connection,
    name: str,
    study_key: int,
    at: datetime,
    calling_ae_title: str,
    modality: str,
    number: int,
) -> None:
    association_id = f"a-{name}"
    connection.execute(
        t.associations.insert().values(
            association_id=association_id,
            kind="network",
            channel="radiology",
            calling_ae_title=calling_ae_title,
            called_ae_title="INTU_SCP",
            peer_address="10.0.0.7",
            started_at=at,
            ended_at=at + timedelta(seconds=2),
            end_reason="released",
            stored=number,
        )
    )
    connection.execute(
        t.association_studies.insert().values(association_id=association_id, study_key=study_key)
    )
    series_key = _insert(
        connection,
        t.series,
        study_key=study_key,
        series_instance_uid=uid(name, 1),
        number_of_instances=number,
        modality=modality,
        series_number="1",
        series_description="Series 1",
        body_part_examined="CHEST",
    )
    for index in range(number):
        connection.execute(
            t.instances.insert().values(
                sop_instance_uid=uid(name, 1, index),
                study_key=study_key,
                series_key=series_key,
                association_id=association_id,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                received_at=at,
                file=f"instances/{name}/{index}.dcm",
                data_set_offset=300,
                data_set_bytes=1_000,
                sha256="0" * 64,
                described_at=at,
            )
        )


def _queue(
    connection: Connection,
    table: Any,
    study_key: int,
    state: str,
    *,
    want: int,
    at: datetime,
    **columns: Any,
) -> int:
    there = state in {DELIVERED, DONE}
    failed = {"attempts": 3, "last_error": "422 refused", "first_failed_at": at}
    delivered = {"delivered_at": at, "server_id": "77", "content_hash": "abc"}
    return _insert(
        connection,
        table,
        study_key=study_key,
        want=want,
        have=want if there else want - 1,
        state=state,
        due_at=at + timedelta(seconds=30) if state in _DUE else None,
        updated_at=at + timedelta(seconds=10),
        **(failed if state in {"dead", RETRYING} else {}),
        **(delivered if state == DELIVERED else {}),
        **columns,
    )


def _insert(connection: Connection, table: Any, **values: Any) -> int:
    key = connection.execute(table.insert().values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])
