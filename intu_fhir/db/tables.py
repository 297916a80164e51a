"""The staging database as tables.

Names and columns are a public interface: people write SQL on them
(``docs/reference/schema.md``). Change them in two moves: add, ship, then remove.
Raw DICOM values are text exactly as decoded; times are UTC.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, Table, UniqueConstraint, text

from intu_fhir.db.archive_commitment_tables import archive_commitments as archive_commitments
from intu_fhir.db.audit_tables import audit_events as audit_events
from intu_fhir.db.commitment_tables import storage_commitment_items as storage_commitment_items
from intu_fhir.db.commitment_tables import storage_commitments as storage_commitments
from intu_fhir.db.companion_tables import companions as companions
from intu_fhir.db.companion_tables import delivered_resources as delivered_resources
from intu_fhir.db.destination_tables import destination_states as destination_states
from intu_fhir.db.file_tables import file_stores as file_stores
from intu_fhir.db.file_tables import removals as removals
from intu_fhir.db.kinds import (
    Json,
    Key,
    Uid,
    UtcDateTime,
    count,
    flag,
    given,
    key,
    moment,
    of_study,
    refers,
    words,
)
from intu_fhir.db.log_tables import log_beginnings as log_beginnings
from intu_fhir.db.metadata import metadata as metadata
from intu_fhir.db.partition_tables import ATTEMPTS, HEADERS, begin_in_one_part
from intu_fhir.db.queue_tables import deliveries as deliveries
from intu_fhir.db.queue_tables import work as work
from intu_fhir.db.token_tables import api_tokens as api_tokens
from intu_fhir.db.upload_tables import uploads as uploads
from intu_fhir.db.version_tables import schema_versions as schema_versions

associations = Table(
    "associations",
    metadata,
    Column("association_id", sa.String(32), primary_key=True, comment="made by the program"),
    given("kind", sa.String(16), "network, or import (the batch door)"),
    given("channel", sa.String(64), "id of the channel it came in by"),
    words("receiver", "name of the receiving process", length=64),
    words("calling_ae_title", "AE title the sender gave itself", length=16),
    words("called_ae_title", "AE title the sender asked for", length=16),
    words("peer_address", "IP address of the sender", length=64),
    words(
        "peer_implementation",
        "Implementation Version Name of the sender (PS3.7 D.3.3.2)",
        length=64,
    ),
    flag("tls", "whether the connection was encrypted"),
    moment("started_at", "when it was accepted"),
    Column("ended_at", UtcDateTime, comment="when it ended; null = still open"),
    words("end_reason", "how it ended, such as released or aborted", length=32),
    count("stored", "objects stored as new instances"),
    count("already_stored", "objects that were there before, byte for byte"),
    count("quarantined", "objects kept aside, see quarantine"),
    count("refused", "objects answered with an error status"),
    words("trace_parent", "its span (W3C traceparent), where it was traced", length=64),
    Index("ix_associations_started_at", "started_at"),
    Index("ix_associations_calling_ae_title", "calling_ae_title"),
    Index(
        "ix_associations_open",
        "receiver",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    comment="One row per DICOM association, or run of the batch door.",
)

studies = Table(
    "studies",
    metadata,
    key("study_key"),
    Column("study_instance_uid", Uid, nullable=False, unique=True),
    given("channel", sa.String(64), "channel of the first instance"),
    moment("first_received_at", "when its first instance was stored"),
    moment("last_received_at", "when its last new instance was stored"),
    given("revision", sa.Integer, "counts changes of staged content"),
    count("generation", "newest settled"),
    Column("settle_requested_by", sa.String(64), comment="operator who asked to settle at once"),
    count("number_of_series", "series staged"),
    count("number_of_instances", "instances staged"),
    count("number_of_pruned", "instances whose files were pruned"),
    words("modalities", "modalities of its series, separated by commas", length=256),
    words("patient_id"),
    words("issuer_of_patient_id"),
    words("patient_name"),
    words("patient_birth_date"),
    words("patient_sex"),
    words("accession_number"),
    words("study_date"),
    words("study_time"),
    words("study_description"),
    words("study_id"),
    words("referring_physician_name"),
    Index("ix_studies_last_received_at", "last_received_at", "study_key"),
    Index(
        "ix_studies_unpruned",
        "last_received_at",
        "study_key",
        sqlite_where=text("number_of_instances > number_of_pruned"),
        postgresql_where=text("number_of_instances > number_of_pruned"),
    ),
    Index(
        "ix_studies_patient_id",
        "patient_id",
        postgresql_ops={"patient_id": "text_pattern_ops"},
    ),
    Index(
        "ix_studies_accession_number",
        "accession_number",
        postgresql_ops={"accession_number": "text_pattern_ops"},
    ),
    Index("ix_studies_study_date", "study_date", "study_key"),
    Index(
        "ix_studies_patient_name",
        sa.func.lower(sa.literal_column("patient_name")).label("name"),
        postgresql_ops={"name": "text_pattern_ops"},
    ),
    comment="One row per study that any instance has come of.",
)

series = Table(
    "series",
    metadata,
    key("series_key"),
    of_study(),
    given("series_instance_uid", Uid),
    count("number_of_instances", "instances staged"),
    words("modality"),
    words("series_number"),
    words("series_description"),
    words("series_date"),
    words("series_time"),
    words("body_part_examined"),
    words("laterality"),
    words("manufacturer"),
    words("manufacturer_model_name"),
    words("station_name"),
    words("performing_physician_name"),
    words("operators_name"),
    UniqueConstraint("study_key", "series_instance_uid"),
    Index("ix_series_series_instance_uid", "series_instance_uid"),
    Index("ix_series_modality", "modality", "study_key"),
    comment="One row per series of a study.",
)

header_groups = Table(
    "header_groups",
    metadata,
    key("header_group_key"),
    refers("series_key", "series.series_key", "the series"),
    given("digest", sa.String(64), "SHA-256 of the attributes"),
    given("attributes", Json, "raw values by DICOM keyword"),
    UniqueConstraint("series_key", "digest"),
    comment="Distinct sets of patient, study and series attributes within a series.",
)

instances = Table(
    "instances",
    metadata,
    key("instance_key"),
    Column("sop_instance_uid", Uid, nullable=False, unique=True),
    of_study(),
    refers("series_key", "series.series_key", "the series"),
    refers("association_id", "associations.association_id", "association that brought it"),
    given("sop_class_uid", Uid),
    given("transfer_syntax_uid", Uid, "transfer syntax it was received in"),
    moment("received_at", "when it was stored"),
    given("file", sa.Text, "path below the file store"),
    given("data_set_offset", sa.Integer, "bytes in the file before the data set"),
    given("data_set_bytes", sa.BigInteger, "size of the data set in bytes"),
    given("sha256", sa.String(64), "of the data set bytes"),
    words("patient_id"),
    words("issuer_of_patient_id"),
    words("modality"),
    words("series_number"),
    words("instance_number"),
    words("number_of_frames"),
    Column("attributes", Json, comment="raw instance-level values by DICOM keyword"),
    Column(
        "header_group_key",
        Key,
        ForeignKey("header_groups.header_group_key"),
        comment="what it has in common with its series; null until described",
    ),
    Column("described_at", UtcDateTime, comment="when the complete header was staged"),
    Column("pruned_at", UtcDateTime, comment="when its file was pruned; null = the file is there"),
    Column(
        "restored_at",
        UtcDateTime,
        comment="when its file came again, after it was pruned or damaged",
    ),
    Column(
        "damaged_at",
        UtcDateTime,
        comment="since when its file is missing or not what was received",
    ),
    words("staged_by", "which list of attributes was staged then, as a digest", length=16),
    Index("ix_instances_study_key", "study_key", "series_key"),
    Index("ix_instances_series_key", "series_key"),
    Index("ix_instances_association_id", "association_id"),
    Index("ix_instances_received_at", "received_at"),
    Index(
        "ix_instances_undescribed",
        "instance_key",
        sqlite_where=text("described_at IS NULL"),
        postgresql_where=text("described_at IS NULL"),
    ),
    Index(
        "ix_instances_damaged",
        "instance_key",
        sqlite_where=text("damaged_at IS NOT NULL"),
        postgresql_where=text("damaged_at IS NOT NULL"),
    ),
    Index(
        "ix_instances_key_objects",
        "study_key",
        sqlite_where=text("sop_class_uid = '1.2.840.10008.5.1.4.1.1.88.59'"),
        postgresql_where=text("sop_class_uid = '1.2.840.10008.5.1.4.1.1.88.59'"),
    ),
    comment="One row per stored instance; its file holds the data set exactly as received.",
)

headers = Table(
    "headers",
    metadata,
    Column(
        "instance_key",
        Key,
        ForeignKey("instances.instance_key"),
        primary_key=True,
        autoincrement=False,
        comment="the instance",
    ),
    given("dicom_json", Json, "complete header, PS3.18 annex F"),
    Column("findings", Json, comment="what could not be decoded, and why"),
    comment="The complete header of each described instance.",
    postgresql_partition_by=HEADERS.by,
)
begin_in_one_part(headers, HEADERS)

association_studies = Table(
    "association_studies",
    metadata,
    Column(
        "association_id",
        sa.String(32),
        ForeignKey("associations.association_id"),
        primary_key=True,
        comment="association that brought it",
    ),
    Column(
        "study_key", Key, ForeignKey("studies.study_key"), primary_key=True, comment="the study"
    ),
    Index("ix_association_studies_study_key", "study_key"),
    comment="Which association brought instances of which study.",
)

generations = Table(
    "generations",
    metadata,
    key("generation_key"),
    of_study(),
    given("generation", sa.Integer, "counted from 1 within the study"),
    given("revision", sa.Integer, "staged content it was settled on"),
    moment("settled_at", "when it counted as complete"),
    given("evidence", sa.String(32), "why it counted as complete"),
    words("evidence_detail", "the same in words"),
    given("number_of_series", sa.Integer, "series it was settled with"),
    given("number_of_instances", sa.Integer, "instances it was settled with"),
    UniqueConstraint("study_key", "generation"),
    Index("ix_generations_settled_at", "settled_at"),
    comment="One row each time a study has settled.",
)

resources = Table(
    "resources",
    metadata,
    key("resource_key"),
    of_study(),
    given("generation", sa.Integer, "generation of the study it was built from"),
    given("release", sa.String(8), "FHIR release, r4 or r5"),
    given("mapping_version", sa.String(64), "name and hash of the mapping it was built by"),
    given("channel", sa.String(64), "id of the channel whose mapping and hook made it"),
    moment("built_at", "when it was built"),
    given("state", sa.String(16), "valid, invalid, filtered or held"),
    given("content_hash", sa.String(64), "SHA-256 of the resource in canonical form"),
    Column("resource", Json, comment="ImagingStudy before the destination's subject"),
    given("findings", Json, "what was noticed while building and validating"),
    UniqueConstraint("study_key", "generation", "release", "mapping_version"),
    Index("ix_resources_built_at", "built_at"),
    comment="One row per ImagingStudy built of a generation.",
)


attempts = Table(
    "attempts",
    metadata,
    key("attempt_key"),
    refers("delivery_key", "deliveries.delivery_key", "the delivery"),
    given("generation", sa.Integer, "generation of the study that was sent"),
    given("number", sa.Integer, "counted from 1 since the last success"),
    moment("started_at", "when it began"),
    moment("ended_at", "when it ended"),
    given("outcome", sa.String(16), "delivered, retry or dead"),
    words("status", "the destination's own answer", length=64),
    words("detail", "what happened, in words"),
    Index("ix_attempts_delivery_key", "delivery_key"),
    Index("ix_attempts_ended_at", "ended_at"),
    comment="One row per try to deliver.",
    postgresql_partition_by=ATTEMPTS.by,
)
begin_in_one_part(attempts, ATTEMPTS)

instance_deliveries = Table(
    "instance_deliveries",
    metadata,
    Column(
        "delivery_key",
        Key,
        ForeignKey("deliveries.delivery_key"),
        primary_key=True,
        comment="the delivery",
    ),
    Column(
        "instance_key",
        Key,
        ForeignKey("instances.instance_key"),
        primary_key=True,
        comment="the instance",
    ),
    given("status", sa.String(16), "the PACS's own C-STORE status"),
    given("delivered", sa.Boolean, "whether the PACS took it"),
    flag("warning", "whether it took it with a warning"),
    words("detail", "what the answer means, and its Error Comment"),
    moment("answered_at", "when the PACS answered"),
    Column("committed_at", UtcDateTime, comment="when the PACS promised to keep it"),
    Column("request_key", Key, comment="row of archive_commitments that last asked for it"),
    words(
        "transcoded_to",
        "Transfer Syntax UID it was sent in; empty = the one it is stored in",
        length=64,
    ),
    Index("ix_instance_deliveries_instance_key", "instance_key"),
    comment="One row per instance and PACS that has answered for it.",
)

quarantine = Table(
    "quarantine",
    metadata,
    key("quarantine_key"),
    refers("association_id", "associations.association_id", "association that brought it"),
    given("reason", sa.String(32), "short code, such as different_bytes"),
    words("detail", "the same in words, with what to do"),
    words("sop_instance_uid", "as far as it could be read"),
    words("study_instance_uid", "as far as it could be read"),
    words("series_instance_uid", "as far as it could be read"),
    given("file", sa.Text, "path below the file store"),
    given("sha256", sa.String(64), "of the data set bytes"),
    words("stored_sha256", "of the instance that is staged under this UID", length=64),
    moment("received_at", "when it was kept"),
    Index("ix_quarantine_sop_instance_uid", "sop_instance_uid", "sha256"),
    Index("ix_quarantine_received_at", "received_at"),
    comment="One row per object that was kept but is not published.",
)

holds = Table(
    "holds",
    metadata,
    key("hold_key"),
    of_study(),
    words("destination", "empty = the whole study", length=64),
    given("reason", sa.String(32), "short code, such as patient_conflict"),
    words("detail", "the same in words, with what to do"),
    given("generation", sa.Integer, "generation that is held"),
    moment("held_at", "since when"),
    Column("released_at", UtcDateTime, comment="when a person let it go on; null = still held"),
    words("released_by", "who did", length=64),
    Index(
        "ix_holds_open",
        "study_key",
        sqlite_where=text("released_at IS NULL"),
        postgresql_where=text("released_at IS NULL"),
    ),
    Index("ix_holds_study_key", "study_key", "destination"),
    comment="One row per study that waits for a person's decision, or has waited.",
)
