"""The views of the staging database: names and columns that stay, for whoever writes queries.

Their SQL is in the migrations that made them; here is what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """One view.

    Args:
        row: what one row is.
        columns: by name, what stands in it; empty = as in the table of the same column.
    """

    name: str
    row: str
    columns: Mapping[str, str]


_STUDY = {
    "study_instance_uid": "Study Instance UID (0020,000D)",
    "patient_id": "",
    "accession_number": "",
    "modalities": "",
}


def _only(*names: str) -> dict[str, str]:
    return {name: _STUDY.get(name, "") for name in names}


VIEWS: tuple[View, ...] = (
    View(
        "v_studies",
        "a study, with the state that `intu-fhir studies` shows",
        {
            **_only("study_instance_uid"),
            "state": "failed, held, receiving, settled, building, delivering, delivered, "
            "filtered or staged; the first that is true",
            "channel": "channel of the first instance",
            "calling_ae_title": "sender of the first instance",
            **_only(
                "patient_id",
                "issuer_of_patient_id",
                "patient_name",
                "patient_birth_date",
                "patient_sex",
                "accession_number",
                "study_date",
                "study_time",
                "study_description",
                "modalities",
                "referring_physician_name",
            ),
            "number_of_series": "series staged",
            "number_of_instances": "instances staged",
            "number_of_pruned": "of these, instances whose files were pruned",
            "first_received_at": "when its first instance was stored",
            "last_received_at": "when its last new instance was stored",
            "generation": "newest settled",
            "settled_at": "when that one settled",
            "delivered_at": "when a destination last confirmed it",
        },
    ),
    View(
        "v_series",
        "a series",
        {
            **_only("study_instance_uid"),
            "series_instance_uid": "Series Instance UID (0020,000E)",
            **_only("patient_id", "accession_number"),
            **_only(
                "modality",
                "series_number",
                "series_description",
                "series_date",
                "series_time",
                "body_part_examined",
                "laterality",
                "manufacturer",
                "manufacturer_model_name",
                "station_name",
            ),
            "number_of_instances": "instances staged",
            "bytes": "size of their data sets",
        },
    ),
    View(
        "v_deliveries",
        "a study and a destination",
        {
            "destination": "name of the destination in intu.yaml",
            **_only("study_instance_uid", "patient_id", "accession_number", "modalities"),
            "state": "see the states of deliveries",
            "wanted_generation": "newest generation wanted there",
            "delivered_generation": "newest one it has confirmed",
            "delivered_at": "when it last confirmed one",
            "tries": "all tries that are on record",
            "failed_tries": "tries that failed since the last success",
            "first_failed_at": "when the failing began",
            "next_try_at": "when it is tried; null = nothing to do",
            "last_status": "its last answer, such as HTTP 201 or 0000",
            "last_error": "why the last try failed",
            "warning": "what it remarked on a success",
            "server_id": "id of the resource at the FHIR server",
            "server_version": "its version there",
            "images_taken": "for a PACS: instances it has taken",
            "images_refused": "for a PACS: instances it has not taken when it last answered",
            "commitment": "",
            "committed_at": "",
            "images_committed": "for a PACS: instances it has promised to keep",
        },
    ),
    View(
        "v_attempts",
        "a try to deliver",
        {
            "started_at": "when it began",
            "ended_at": "when it ended",
            "seconds": "how long it took",
            "destination": "name of the destination in intu.yaml",
            **_only("study_instance_uid", "modalities"),
            "generation": "generation that was sent",
            "number": "counted from 1 since the last success",
            "outcome": "delivered, retrying, dead or held",
            "status": "the destination's own answer",
            "detail": "what happened, in words",
        },
    ),
    View(
        "v_turnaround",
        "a generation of a study and a destination: how long it took from the last image on; none "
        "that settled before the tries that are on record",
        {
            **_only("study_instance_uid"),
            "generation": "counted from 1 within the study; above 1, images came late",
            "destination": "name of the destination in intu.yaml",
            "channel": "channel of the first instance",
            **_only("modalities"),
            "number_of_instances": "instances it settled with",
            "first_received_at": "when the study's first instance was stored",
            "last_received_at": "when the last instance of this generation was stored",
            "settled_at": "when it counted as complete",
            "built_at": "when its resource was first built",
            "delivered_at": "when the destination first confirmed it; null = not yet",
            "seconds_to_settle": "from the last image until it counted as complete",
            "seconds_to_build": "from then until it was built",
            "seconds_to_deliver": "from then until it was confirmed",
            "seconds_in_all": "from the last image until it was confirmed",
        },
    ),
    View(
        "v_failures",
        "something that fails now, or waits for a person",
        {
            "kind": "delivery, step, hold, quarantine or file",
            "place": "the destination, or the step",
            **_only("study_instance_uid"),
            "state": "retrying, dead, held, quarantined or damaged",
            "since": "when it began",
            "tries": "tries that failed",
            "code": "the destination's answer, or a short reason",
            "detail": "the same in words; for a file, its path below the file store",
            "next_try_at": "when it is tried by itself; null = it waits for a person",
        },
    ),
    View(
        "v_daily",
        "a day (UTC), channel, sender and modality: what was stored",
        {
            "day": "as 2024-03-01",
            "channel": "id of the channel it came in by",
            "calling_ae_title": "sender",
            **_only("modality"),
            "studies": "studies with an instance of that day",
            "images": "instances",
            "bytes": "size of their data sets",
        },
    ),
    View(
        "v_dose",
        "a number of a radiation dose report; filled where a destination publishes `dose`",
        {
            **_only("study_instance_uid"),
            **_only(
                "patient_id",
                "patient_birth_date",
                "patient_sex",
                "study_description",
                "modalities",
            ),
            "report_uid": "SOP Instance UID of the report",
            "started": "when irradiation began, as a FHIR dateTime",
            "device": "equipment, where the report names it and no Device is published",
            "name": "what was measured, as the report calls it",
            "code_system": "system of its code",
            "code": "its code, such as 113813 of DCM for CT Dose Length Product Total",
            "value": "number",
            "unit": "unit of the number",
        },
    ),
)
"""All of them, in the order that a reader may want them."""
