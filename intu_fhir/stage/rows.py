"""The group commit of instance rows, in which one locked study does not keep the others waiting."""

from __future__ import annotations

from typing import TypeAlias

from intu_fhir.db.instance_writer import InstanceWriter
from intu_fhir.db.instances import NewInstance, StagedAs
from intu_fhir.stage.commit import Apart, GroupCommit

Rows: TypeAlias = GroupCommit[NewInstance, StagedAs]


def commit_rows(
    writer: InstanceWriter, *, wait_seconds: float = 20.0, kind: type[Rows] = GroupCommit
) -> Rows:
    """Return what stores rows by a writer.

    Args:
        wait_seconds: how long a row is waited for.
        kind: of group commit.
    """
    return kind(writer, wait_seconds=wait_seconds, apart=Apart(_study_of, writer.briefly))


def _study_of(item: NewInstance) -> str:
    return item.header.study_instance_uid
