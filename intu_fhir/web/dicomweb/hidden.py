"""What is staged but is shown to nobody: instances that rejection notes took out of use.

The EHR was told the same (IHE RAD, Imaging Object Change Management).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from intu_fhir.db.image_files import Note, count_by_series, notes_of
from intu_fhir.db.image_query import Hit, Level
from intu_fhir.db.session import Connection
from intu_fhir.model.rejection import KEY_OBJECT_SELECTION, out_of_use
from intu_fhir.model.study import Instance
from intu_fhir.stage.from_json import values_of


@dataclass(frozen=True)
class Hidden:
    """What is out of use of some studies.

    Args:
        by_series: how many instances, by series.
        by_study: how many instances, by study.
        series: how many whole series, by study.
    """

    uids: frozenset[str] = frozenset()
    by_series: Mapping[int, int] = field(default_factory=Counter)
    by_study: Mapping[int, int] = field(default_factory=Counter)
    series: Mapping[int, int] = field(default_factory=Counter)

    def shown(self, level: Level, hit: Hit) -> Hit | None:
        """Return a match with its counts as they are shown, or None where nothing is left."""
        if hit.study_key not in self.by_study:
            return hit
        if level == "instance" and hit.values["SOPInstanceUID"] in self.uids:
            return None
        values = dict(hit.values)
        _less(values, "NumberOfStudyRelatedInstances", self.by_study.get(hit.study_key, 0))
        _less(values, "NumberOfStudyRelatedSeries", self.series.get(hit.study_key, 0))
        _less(values, "NumberOfSeriesRelatedInstances", self.by_series.get(hit.series_key, 0))
        if values.get(_COUNT_OF[level]) == "0":
            return None
        return replace(hit, values=values)


_COUNT_OF: Mapping[Level, str] = {
    "study": "NumberOfStudyRelatedInstances",
    "series": "NumberOfSeriesRelatedInstances",
    "instance": "",
}


def _less(values: dict[str, str], keyword: str, number: int) -> None:
    if keyword in values:
        values[keyword] = str(int(values[keyword]) - number)


def hidden_in(connection: Connection, study_keys: Iterable[int]) -> Hidden:
    """Return what is out of use of some studies."""
    uids = hidden_uids(connection, study_keys)
    if not uids:
        return Hidden()
    by_series: Counter[int] = Counter()
    by_study: Counter[int] = Counter()
    series: Counter[int] = Counter()
    for one in count_by_series(connection, uids):
        by_series[one.series_key] += one.number
        by_study[one.study_key] += one.number
        series[one.study_key] += one.number == one.total
    return Hidden(uids, by_series, by_study, series)


def hidden_uids(connection: Connection, study_keys: Iterable[int]) -> frozenset[str]:
    """Return the instances of some studies that are out of use."""
    by_study: dict[int, list[Instance]] = defaultdict(list)
    for note in notes_of(connection, study_keys):
        by_study[note.study_key].append(_selection(note))
    return frozenset(uid for notes in by_study.values() for uid in out_of_use(notes))


def _selection(note: Note) -> Instance:
    values = values_of(note.dicom_json)
    return Instance(note.sop_instance_uid, KEY_OBJECT_SELECTION, "", values, "")
