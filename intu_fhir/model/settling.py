"""What is known about a study when it is judged whether it is complete for now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from intu_fhir.model.study import HeaderGroup, Instance


@dataclass(frozen=True, slots=True)
class StudyActivity:
    """The signs of life of a study.

    Args:
        revision: number of its staged content; any new instance raises it.
        open_associations: associations that brought instances of it and have not ended.
        expected_instances: what a header announces, (0020,1208), if one does.
        undescribed: instances whose complete header is not staged yet.
        settle_requested_by: operator who wants it settled at once.
    """

    study_key: int
    study_instance_uid: str
    channels: tuple[str, ...]
    revision: int
    generation: int
    last_received_at: datetime
    number_of_instances: int
    open_associations: int
    undescribed: int
    expected_instances: int | None = None
    settle_requested_by: str | None = None


@dataclass(frozen=True, slots=True)
class SeriesHeaders:
    """What is staged of one series, for merging."""

    groups: tuple[HeaderGroup, ...]
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class StudyHeaders:
    """What is staged of one study, for conflicts and merging.

    Args:
        shared_series: Series Instance UIDs that another study has as well, each with that study's.
        unread: instances of which attributes are wanted that nothing here holds any more.
    """

    study_instance_uid: str
    revision: int
    series: Mapping[str, SeriesHeaders]
    calling_ae_titles: tuple[str, ...] = ()
    shared_series: tuple[tuple[str, str], ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyHold:
    """A reason not to publish a study until a person decides.

    Args:
        before: what earlier versions said of the same; who released that has decided on this.
    """

    reason: str
    detail: str
    before: str = ""
