"""A PostgreSQL staging database as a site leaves it that has worked for long, made by SQL alone.

Every table that grows with what is received has the rows it would have: 200 CT images a study in
two series, each built, delivered to an EHR and to a PACS. UIDs come in an order that has nothing
to do with time, as those of many senders do. Complete headers and resources are there but small:
no statement of a worker looks for anything in them.
"""

from __future__ import annotations

import contextlib

from intu_fhir.db import migrate
from intu_fhir.db.session import Database
from tests.benchmarks.objects import INSTANCE, SERIES, STUDY

_IN_STUDY, _IN_SERIES = 200, 100
_DIGITS = 20
_BEFORE = "(TIMESTAMPTZ '2024-02-29 00:00:00+00' - {n} * INTERVAL '60 seconds')"
_STUDIES = "FROM generate_series(1, {studies}) AS n"


def spread(number: int) -> int:
    """Return another number for a number, no two of them alike: its neighbours are far away."""
    return (number * 1_000_003 + 12_345) % 998_244_353


def _uid(placeholder: str, number: str) -> str:
    """Return the SQL of the UID that ``numbered`` makes."""
    return f"'{placeholder[:-_DIGITS]}' || lpad(CAST({number} AS text), {_DIGITS}, '0')"


_NUMBER = "((CAST({n} AS bigint) * 1000003 + 12345) % 998244353)"
_STUDY, _SERIES = _NUMBER.format(n="n"), _NUMBER.format(n="((n - 1) / 2 + 1)")
_IMAGE = _NUMBER.format(n="((n - 1) / 200 + 1)")
_CONTENT = "md5(CAST(n AS text)) || md5(CAST(-n AS text))"
_AT, _OF_IMAGE = _BEFORE.format(n="n"), _BEFORE.format(n="((n - 1) / 200 + 1)")

_FILL = (
    f"INSERT INTO associations (association_id, kind, channel, calling_ae_title, started_at, "
    f"ended_at, end_reason, stored) SELECT 'before' || n, 'network', 'radiology', "
    f"'CT' || n % 50, {_AT}, {_AT}, 'released', {_IN_STUDY} {_STUDIES}",
    f"INSERT INTO studies (study_instance_uid, channel, first_received_at, last_received_at, "
    f"revision, generation, number_of_series, number_of_instances, modalities, patient_id, "
    f"patient_name, accession_number, study_date, study_description) "
    f"SELECT {_uid(STUDY, _STUDY)}, 'radiology', {_AT}, {_AT}, {_IN_STUDY}, 1, 2, {_IN_STUDY}, "
    f"'CT', 'P' || n % 9973, 'Family' || n % 9973 || '^Given', 'A' || n, "
    f"to_char({_AT}, 'YYYYMMDD'), 'CT Thorax' {_STUDIES}",
    f"INSERT INTO series (study_key, series_instance_uid, number_of_instances, modality, "
    f"series_number, series_description, manufacturer) "
    f"SELECT (n - 1) / 2 + 1, {_uid(SERIES, f'({_SERIES} * 1000 + (n - 1) % 2)')}, {_IN_SERIES}, "
    f"'CT', n % 2, 'Thorax 5.0', 'Maker' FROM generate_series(1, {{series}}) AS n",
    "INSERT INTO association_studies (association_id, study_key) "
    f"SELECT 'before' || n, n {_STUDIES}",
    f"INSERT INTO header_groups (series_key, digest, attributes) SELECT n, {_CONTENT}, "
    """'{{"PatientID": "P1", "PatientName": "Family^Given", "Modality": "CT"}}' """
    "FROM generate_series(1, {series}) AS n",
    f"INSERT INTO instances (sop_instance_uid, study_key, series_key, association_id, "
    f"sop_class_uid, transfer_syntax_uid, received_at, file, data_set_offset, data_set_bytes, "
    f"sha256, patient_id, modality, series_number, instance_number, attributes, "
    f"header_group_key, described_at, staged_by) "
    f"SELECT {_uid(INSTANCE, f'({_IMAGE} * 100000 + (n - 1) % {_IN_STUDY})')}, "
    f"(n - 1) / {_IN_STUDY} + 1, (n - 1) / {_IN_SERIES} + 1, "
    f"'before' || (n - 1) / {_IN_STUDY} + 1, '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', "
    f"{_OF_IMAGE}, 'instances/' || md5(CAST(n AS text)) || '.dcm', 340, 526000, {_CONTENT}, "
    f"'P' || (n - 1) / {_IN_STUDY} % 9973, 'CT', '1', CAST(n % {_IN_SERIES} AS text), "
    """'{{"InstanceNumber": "1"}}', """
    f"(n - 1) / {_IN_SERIES} + 1, {_OF_IMAGE}, '0123456789abcdef' "
    "FROM generate_series(1, {rows}) AS n",
    "INSERT INTO headers (instance_key, dicom_json) SELECT n, "
    """'{{"00080060": {{"vr": "CS", "Value": ["CT"]}}}}' FROM generate_series(1, {rows}) AS n""",
    f"INSERT INTO generations (study_key, generation, revision, settled_at, evidence, "
    f"number_of_series, number_of_instances) SELECT n, 1, {_IN_STUDY}, {_AT}, 'quiet', 2, "
    f"{_IN_STUDY} {_STUDIES}",
    f"INSERT INTO resources (study_key, generation, release, mapping_version, channel, built_at, "
    f"state, content_hash, resource, findings) SELECT n, 1, 'r4', 'default', 'radiology', {_AT}, "
    f"""'valid', {_CONTENT}, '{{{{"resourceType": "ImagingStudy"}}}}', '[]' {_STUDIES}""",
    f"INSERT INTO work (study_key, step, want, have, state, fence, updated_at) SELECT n, step, "
    f"want, want, 'done', 1, {_AT} {_STUDIES}, "
    f"(VALUES ('aggregate', {_IN_STUDY}), ('build', 1)) AS steps (step, want)",
    f"INSERT INTO deliveries (delivery_key, study_key, destination, want, have, state, fence, "
    f"updated_at, delivered_at, server_id, content_hash, last_status) SELECT 2 * n - place, n, "
    f"name, 1, 1, 'delivered', 1, {_AT}, {_AT}, name || n, {_CONTENT}, status {_STUDIES}, "
    f"(VALUES (1, 'ehr', 'HTTP 201'), (0, 'pacs', '0000')) AS two (place, name, status)",
    "SELECT setval(pg_get_serial_sequence('deliveries', 'delivery_key'), 2 * {studies})",
    f"INSERT INTO attempts (delivery_key, generation, number, started_at, ended_at, outcome, "
    f"status) SELECT 2 * n - place, 1, 1, {_AT}, {_AT}, 'delivered', status {_STUDIES}, "
    f"(VALUES (1, 'HTTP 201'), (0, '0000')) AS two (place, status)",
    f"INSERT INTO instance_deliveries (delivery_key, instance_key, status, delivered, "
    f"answered_at) SELECT 2 * ((n - 1) / {_IN_STUDY} + 1), n, '0000', true, {_OF_IMAGE} "
    f"FROM generate_series(1, {{rows}}) AS n",
)


def fill(url: str, rows: int) -> None:
    """Make the tables in an empty PostgreSQL database, and stage so many instances in them."""
    migrate.upgrade(url)
    with contextlib.closing(Database(url)) as database:
        for statement in _FILL if rows else ():
            studies, series = rows // _IN_STUDY, rows // _IN_SERIES
            whole = statement.format(rows=rows, studies=studies, series=series)
            with database.write() as connection:
                # The rows refer to each other rightly; looking each of them up takes for ever.
                connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql(whole.replace("%", "%%"))
        with database.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")
