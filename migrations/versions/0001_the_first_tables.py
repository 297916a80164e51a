"""The first tables.

Revision ID: 0001
Revises: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Time = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "associations",
        sa.Column("association_id", sa.String(32), nullable=False, comment="made by the program"),
        sa.Column(
            "kind", sa.String(16), nullable=False, comment="network, or import (the batch door)"
        ),
        sa.Column(
            "channel", sa.String(64), nullable=False, comment="id of the channel it came in by"
        ),
        sa.Column(
            "receiver",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="name of the receiving process",
        ),
        sa.Column(
            "calling_ae_title",
            sa.String(16),
            server_default="",
            nullable=False,
            comment="AE title the sender gave itself",
        ),
        sa.Column(
            "called_ae_title",
            sa.String(16),
            server_default="",
            nullable=False,
            comment="AE title the sender asked for",
        ),
        sa.Column(
            "peer_address",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="IP address of the sender",
        ),
        sa.Column(
            "peer_implementation",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="Implementation Version Name of the sender (PS3.7 D.3.3.2)",
        ),
        sa.Column(
            "tls",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="whether the connection was encrypted",
        ),
        sa.Column("started_at", Time, nullable=False, comment="when it was accepted"),
        sa.Column("ended_at", Time, nullable=True, comment="when it ended; null = still open"),
        sa.Column(
            "end_reason",
            sa.String(32),
            server_default="",
            nullable=False,
            comment="how it ended, such as released or aborted",
        ),
        sa.Column(
            "stored",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="objects stored as new instances",
        ),
        sa.Column(
            "already_stored",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="objects that were there before, byte for byte",
        ),
        sa.Column(
            "quarantined",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="objects kept aside, see quarantine",
        ),
        sa.Column(
            "refused",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="objects answered with an error status",
        ),
        sa.PrimaryKeyConstraint("association_id", name=op.f("pk_associations")),
        comment="One row per DICOM association, or run of the batch door.",
    )
    op.create_index("ix_associations_started_at", "associations", ["started_at"], unique=False)
    op.create_table(
        "studies",
        sa.Column(
            "study_key", Key, autoincrement=True, nullable=False, comment="made by the database"
        ),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column(
            "channel", sa.String(64), nullable=False, comment="channel of the first instance"
        ),
        sa.Column(
            "first_received_at", Time, nullable=False, comment="when its first instance was stored"
        ),
        sa.Column(
            "last_received_at",
            Time,
            nullable=False,
            comment="when its last new instance was stored",
        ),
        sa.Column(
            "revision", sa.Integer(), nullable=False, comment="counts changes of staged content"
        ),
        sa.Column(
            "generation", sa.Integer(), server_default="0", nullable=False, comment="newest settled"
        ),
        sa.Column(
            "settle_requested_by",
            sa.String(64),
            nullable=True,
            comment="operator who asked to settle at once",
        ),
        sa.Column(
            "number_of_series",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="series staged",
        ),
        sa.Column(
            "number_of_instances",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="instances staged",
        ),
        sa.Column(
            "modalities",
            sa.String(256),
            server_default="",
            nullable=False,
            comment="modalities of its series, separated by commas",
        ),
        sa.Column("patient_id", sa.Text(), server_default="", nullable=False),
        sa.Column("issuer_of_patient_id", sa.Text(), server_default="", nullable=False),
        sa.Column("patient_name", sa.Text(), server_default="", nullable=False),
        sa.Column("patient_birth_date", sa.Text(), server_default="", nullable=False),
        sa.Column("patient_sex", sa.Text(), server_default="", nullable=False),
        sa.Column("accession_number", sa.Text(), server_default="", nullable=False),
        sa.Column("study_date", sa.Text(), server_default="", nullable=False),
        sa.Column("study_time", sa.Text(), server_default="", nullable=False),
        sa.Column("study_description", sa.Text(), server_default="", nullable=False),
        sa.Column("study_id", sa.Text(), server_default="", nullable=False),
        sa.Column("referring_physician_name", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("study_key", name=op.f("pk_studies")),
        sa.UniqueConstraint("study_instance_uid", name=op.f("uq_studies_study_instance_uid")),
        comment="One row per study that any instance has come of.",
    )
    op.create_index("ix_studies_accession_number", "studies", ["accession_number"], unique=False)
    op.create_index(
        "ix_studies_last_received_at", "studies", ["last_received_at", "study_key"], unique=False
    )
    op.create_index("ix_studies_patient_id", "studies", ["patient_id"], unique=False)
    op.create_index("ix_studies_study_date", "studies", ["study_date"], unique=False)
    op.create_table(
        "association_studies",
        sa.Column(
            "association_id", sa.String(32), nullable=False, comment="association that brought it"
        ),
        sa.Column("study_key", Key, nullable=False, comment="the study"),
        sa.ForeignKeyConstraint(
            ["association_id"],
            ["associations.association_id"],
            name=op.f("fk_association_studies_association_id_associations"),
        ),
        sa.ForeignKeyConstraint(
            ["study_key"],
            ["studies.study_key"],
            name=op.f("fk_association_studies_study_key_studies"),
        ),
        sa.PrimaryKeyConstraint("association_id", "study_key", name=op.f("pk_association_studies")),
        comment="Which association brought instances of which study.",
    )
    op.create_index(
        "ix_association_studies_study_key", "association_studies", ["study_key"], unique=False
    )
    op.create_table(
        "deliveries",
        sa.Column(
            "delivery_key", Key, autoincrement=True, nullable=False, comment="made by the database"
        ),
        sa.Column("study_key", Key, nullable=False, comment="the study"),
        sa.Column(
            "destination",
            sa.String(64),
            nullable=False,
            comment="name of the destination in intu.yaml",
        ),
        sa.Column("want", sa.Integer(), nullable=False, comment="newest generation wanted here"),
        sa.Column("have", sa.Integer(), server_default="0", nullable=False, comment="newest done"),
        sa.Column(
            "state",
            sa.String(16),
            server_default="waiting",
            nullable=False,
            comment="waiting, running, retrying, done, delivered, dead, held or filtered",
        ),
        sa.Column(
            "due_at", Time, nullable=True, comment="when to work on it; null = nothing to do"
        ),
        sa.Column(
            "attempts",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="tries that failed since the last success",
        ),
        sa.Column("first_failed_at", Time, nullable=True, comment="when the failing began"),
        sa.Column(
            "last_error",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="why the last try failed",
        ),
        sa.Column(
            "lease_holder",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="worker that has it",
        ),
        sa.Column("lease_until", Time, nullable=True, comment="when that worker loses it"),
        sa.Column(
            "fence",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="number of the lease; an older one can write nothing",
        ),
        sa.Column("updated_at", Time, nullable=False, comment="when the row last changed"),
        sa.Column(
            "delivered_at", Time, nullable=True, comment="when the destination last confirmed"
        ),
        sa.Column(
            "server_id",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="id of the resource at the FHIR server",
        ),
        sa.Column(
            "server_version",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="its version there",
        ),
        sa.Column(
            "content_hash",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="SHA-256 of what was delivered; equal content is not sent again",
        ),
        sa.Column(
            "last_status",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="the destination's last answer, such as HTTP 201 or 0000",
        ),
        sa.Column(
            "warning",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="what the destination remarked on a success",
        ),
        sa.ForeignKeyConstraint(
            ["study_key"], ["studies.study_key"], name=op.f("fk_deliveries_study_key_studies")
        ),
        sa.PrimaryKeyConstraint("delivery_key", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "study_key", "destination", name=op.f("uq_deliveries_study_key_destination")
        ),
        comment="One row per study and destination: what should be there and what is.",
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["destination", "due_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_deliveries_state", "deliveries", ["state", "destination"], unique=False)
    op.create_table(
        "generations",
        sa.Column(
            "generation_key",
            Key,
            autoincrement=True,
            nullable=False,
            comment="made by the database",
        ),
        sa.Column("study_key", Key, nullable=False, comment="the study"),
        sa.Column(
            "generation", sa.Integer(), nullable=False, comment="counted from 1 within the study"
        ),
        sa.Column(
            "revision", sa.Integer(), nullable=False, comment="staged content it was settled on"
        ),
        sa.Column("settled_at", Time, nullable=False, comment="when it counted as complete"),
        sa.Column("evidence", sa.String(32), nullable=False, comment="why it counted as complete"),
        sa.Column(
            "evidence_detail",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="the same in words",
        ),
        sa.Column(
            "number_of_series", sa.Integer(), nullable=False, comment="series it was settled with"
        ),
        sa.Column(
            "number_of_instances",
            sa.Integer(),
            nullable=False,
            comment="instances it was settled with",
        ),
        sa.ForeignKeyConstraint(
            ["study_key"], ["studies.study_key"], name=op.f("fk_generations_study_key_studies")
        ),
        sa.PrimaryKeyConstraint("generation_key", name=op.f("pk_generations")),
        sa.UniqueConstraint(
            "study_key", "generation", name=op.f("uq_generations_study_key_generation")
        ),
        comment="One row each time a study has settled.",
    )
    op.create_table(
        "holds",
        sa.Column(
            "hold_key", Key, autoincrement=True, nullable=False, comment="made by the database"
        ),
        sa.Column("study_key", Key, nullable=False, comment="the study"),
        sa.Column(
            "destination",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="empty = the whole study",
        ),
        sa.Column(
            "reason", sa.String(32), nullable=False, comment="short code, such as patient_conflict"
        ),
        sa.Column(
            "detail",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="the same in words, with what to do",
        ),
        sa.Column("generation", sa.Integer(), nullable=False, comment="generation that is held"),
        sa.Column("held_at", Time, nullable=False, comment="since when"),
        sa.Column(
            "released_at",
            Time,
            nullable=True,
            comment="when a person let it go on; null = still held",
        ),
        sa.Column(
            "released_by", sa.String(64), server_default="", nullable=False, comment="who did"
        ),
        sa.ForeignKeyConstraint(
            ["study_key"], ["studies.study_key"], name=op.f("fk_holds_study_key_studies")
        ),
        sa.PrimaryKeyConstraint("hold_key", name=op.f("pk_holds")),
        comment="One row per study that waits for a person's decision, or has waited.",
    )
    op.create_index(
        "ix_holds_open",
        "holds",
        ["study_key"],
        unique=False,
        sqlite_where=sa.text("released_at IS NULL"),
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_table(
        "quarantine",
        sa.Column(
            "quarantine_key",
            Key,
            autoincrement=True,
            nullable=False,
            comment="made by the database",
        ),
        sa.Column(
            "association_id", sa.String(32), nullable=False, comment="association that brought it"
        ),
        sa.Column(
            "reason", sa.String(32), nullable=False, comment="short code, such as different_bytes"
        ),
        sa.Column(
            "detail",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="the same in words, with what to do",
        ),
        sa.Column(
            "sop_instance_uid",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="as far as it could be read",
        ),
        sa.Column(
            "study_instance_uid",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="as far as it could be read",
        ),
        sa.Column(
            "series_instance_uid",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="as far as it could be read",
        ),
        sa.Column("file", sa.Text(), nullable=False, comment="path below the file store"),
        sa.Column("sha256", sa.String(64), nullable=False, comment="of the data set bytes"),
        sa.Column(
            "stored_sha256",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="of the instance that is staged under this UID",
        ),
        sa.Column("received_at", Time, nullable=False, comment="when it was kept"),
        sa.ForeignKeyConstraint(
            ["association_id"],
            ["associations.association_id"],
            name=op.f("fk_quarantine_association_id_associations"),
        ),
        sa.PrimaryKeyConstraint("quarantine_key", name=op.f("pk_quarantine")),
        comment="One row per object that was kept but is not published.",
    )
    op.create_index(
        "ix_quarantine_sop_instance_uid", "quarantine", ["sop_instance_uid", "sha256"], unique=False
    )
    op.create_table(
        "resources",
        sa.Column(
            "resource_key", Key, autoincrement=True, nullable=False, comment="made by the database"
        ),
        sa.Column("study_key", Key, nullable=False, comment="the study"),
        sa.Column(
            "generation",
            sa.Integer(),
            nullable=False,
            comment="generation of the study it was built from",
        ),
        sa.Column("release", sa.String(8), nullable=False, comment="FHIR release, r4 or r5"),
        sa.Column(
            "mapping_version",
            sa.String(64),
            nullable=False,
            comment="name and hash of the mapping it was built by",
        ),
        sa.Column(
            "channel",
            sa.String(64),
            nullable=False,
            comment="id of the channel whose mapping and hook made it",
        ),
        sa.Column("built_at", Time, nullable=False, comment="when it was built"),
        sa.Column(
            "state", sa.String(16), nullable=False, comment="valid, invalid, filtered or held"
        ),
        sa.Column(
            "content_hash",
            sa.String(64),
            nullable=False,
            comment="SHA-256 of the resource in canonical form",
        ),
        sa.Column(
            "resource", Json, nullable=True, comment="ImagingStudy before the destination's subject"
        ),
        sa.Column(
            "findings",
            Json,
            nullable=False,
            comment="what was noticed while building and validating",
        ),
        sa.ForeignKeyConstraint(
            ["study_key"], ["studies.study_key"], name=op.f("fk_resources_study_key_studies")
        ),
        sa.PrimaryKeyConstraint("resource_key", name=op.f("pk_resources")),
        sa.UniqueConstraint(
            "study_key",
            "generation",
            "release",
            "mapping_version",
            name=op.f("uq_resources_study_key_generation_release_mapping_version"),
        ),
        comment="One row per ImagingStudy built of a generation.",
    )
    op.create_table(
        "series",
        sa.Column(
            "series_key", Key, autoincrement=True, nullable=False, comment="made by the database"
        ),
        sa.Column("study_key", Key, nullable=False, comment="the study"),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column(
            "number_of_instances",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="instances staged",
        ),
        sa.Column("modality", sa.Text(), server_default="", nullable=False),
        sa.Column("series_number", sa.Text(), server_default="", nullable=False),
        sa.Column("series_description", sa.Text(), server_default="", nullable=False),
        sa.Column("series_date", sa.Text(), server_default="", nullable=False),
        sa.Column("series_time", sa.Text(), server_default="", nullable=False),
        sa.Column("body_part_examined", sa.Text(), server_default="", nullable=False),
        sa.Column("laterality", sa.Text(), server_default="", nullable=False),
        sa.Column("manufacturer", sa.Text(), server_default="", nullable=False),
        sa.Column("manufacturer_model_name", sa.Text(), server_default="", nullable=False),
        sa.Column("station_name", sa.Text(), server_default="", nullable=False),
        sa.Column("performing_physician_name", sa.Text(), server_default="", nullable=False),
        sa.Column("operators_name", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["study_key"], ["studies.study_key"], name=op.f("fk_series_study_key_studies")
        ),
        sa.PrimaryKeyConstraint("series_key", name=op.f("pk_series")),
        sa.UniqueConstraint(
            "study_key", "series_instance_uid", name=op.f("uq_series_study_key_series_instance_uid")
        ),
        comment="One row per series of a study.",
    )
    op.create_index(
        "ix_series_series_instance_uid", "series", ["series_instance_uid"], unique=False
    )
    op.create_table(
        "work",
        sa.Column(
            "work_key", Key, autoincrement=True, nullable=False, comment="made by the database"
        ),
        sa.Column("study_key", Key, nullable=False, comment="the study"),
        sa.Column("step", sa.String(16), nullable=False, comment="aggregate or build"),
        sa.Column("want", sa.Integer(), nullable=False, comment="newest generation wanted here"),
        sa.Column("have", sa.Integer(), server_default="0", nullable=False, comment="newest done"),
        sa.Column(
            "state",
            sa.String(16),
            server_default="waiting",
            nullable=False,
            comment="waiting, running, retrying, done, delivered, dead, held or filtered",
        ),
        sa.Column(
            "due_at", Time, nullable=True, comment="when to work on it; null = nothing to do"
        ),
        sa.Column(
            "attempts",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="tries that failed since the last success",
        ),
        sa.Column("first_failed_at", Time, nullable=True, comment="when the failing began"),
        sa.Column(
            "last_error",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="why the last try failed",
        ),
        sa.Column(
            "lease_holder",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="worker that has it",
        ),
        sa.Column("lease_until", Time, nullable=True, comment="when that worker loses it"),
        sa.Column(
            "fence",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="number of the lease; an older one can write nothing",
        ),
        sa.Column("updated_at", Time, nullable=False, comment="when the row last changed"),
        sa.ForeignKeyConstraint(
            ["study_key"], ["studies.study_key"], name=op.f("fk_work_study_key_studies")
        ),
        sa.PrimaryKeyConstraint("work_key", name=op.f("pk_work")),
        sa.UniqueConstraint("study_key", "step", name=op.f("uq_work_study_key_step")),
        comment="One row per study and step before delivery; deliveries has the like.",
    )
    op.create_index(
        "ix_work_due",
        "work",
        ["step", "due_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column(
            "attempt_key", Key, autoincrement=True, nullable=False, comment="made by the database"
        ),
        sa.Column("delivery_key", Key, nullable=False, comment="the delivery"),
        sa.Column(
            "generation",
            sa.Integer(),
            nullable=False,
            comment="generation of the study that was sent",
        ),
        sa.Column(
            "number", sa.Integer(), nullable=False, comment="counted from 1 since the last success"
        ),
        sa.Column("started_at", Time, nullable=False, comment="when it began"),
        sa.Column("ended_at", Time, nullable=False, comment="when it ended"),
        sa.Column("outcome", sa.String(16), nullable=False, comment="delivered, retry or dead"),
        sa.Column(
            "status",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="the destination's own answer",
        ),
        sa.Column(
            "detail",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="what happened, in words",
        ),
        sa.ForeignKeyConstraint(
            ["delivery_key"],
            ["deliveries.delivery_key"],
            name=op.f("fk_attempts_delivery_key_deliveries"),
        ),
        sa.PrimaryKeyConstraint("attempt_key", name=op.f("pk_attempts")),
        comment="One row per try to deliver.",
    )
    op.create_index("ix_attempts_delivery_key", "attempts", ["delivery_key"], unique=False)
    op.create_table(
        "header_groups",
        sa.Column(
            "header_group_key",
            Key,
            autoincrement=True,
            nullable=False,
            comment="made by the database",
        ),
        sa.Column("series_key", Key, nullable=False, comment="the series"),
        sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of the attributes"),
        sa.Column("attributes", Json, nullable=False, comment="raw values by DICOM keyword"),
        sa.ForeignKeyConstraint(
            ["series_key"], ["series.series_key"], name=op.f("fk_header_groups_series_key_series")
        ),
        sa.PrimaryKeyConstraint("header_group_key", name=op.f("pk_header_groups")),
        sa.UniqueConstraint(
            "series_key", "digest", name=op.f("uq_header_groups_series_key_digest")
        ),
        comment="Distinct sets of patient, study and series attributes within a series.",
    )
    op.create_table(
        "instances",
        sa.Column(
            "instance_key", Key, autoincrement=True, nullable=False, comment="made by the database"
        ),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("study_key", Key, nullable=False, comment="the study"),
        sa.Column("series_key", Key, nullable=False, comment="the series"),
        sa.Column(
            "association_id", sa.String(32), nullable=False, comment="association that brought it"
        ),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column(
            "transfer_syntax_uid",
            sa.String(64),
            nullable=False,
            comment="transfer syntax it was received in",
        ),
        sa.Column("received_at", Time, nullable=False, comment="when it was stored"),
        sa.Column("file", sa.Text(), nullable=False, comment="path below the file store"),
        sa.Column(
            "data_set_offset",
            sa.Integer(),
            nullable=False,
            comment="bytes in the file before the data set",
        ),
        sa.Column(
            "data_set_bytes",
            sa.BigInteger(),
            nullable=False,
            comment="size of the data set in bytes",
        ),
        sa.Column("sha256", sa.String(64), nullable=False, comment="of the data set bytes"),
        sa.Column("patient_id", sa.Text(), server_default="", nullable=False),
        sa.Column("issuer_of_patient_id", sa.Text(), server_default="", nullable=False),
        sa.Column("modality", sa.Text(), server_default="", nullable=False),
        sa.Column("series_number", sa.Text(), server_default="", nullable=False),
        sa.Column("instance_number", sa.Text(), server_default="", nullable=False),
        sa.Column("number_of_frames", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "attributes", Json, nullable=True, comment="raw instance-level values by DICOM keyword"
        ),
        sa.Column(
            "header_group_key",
            Key,
            nullable=True,
            comment="what it has in common with its series; null until described",
        ),
        sa.Column(
            "described_at", Time, nullable=True, comment="when the complete header was staged"
        ),
        sa.ForeignKeyConstraint(
            ["association_id"],
            ["associations.association_id"],
            name=op.f("fk_instances_association_id_associations"),
        ),
        sa.ForeignKeyConstraint(
            ["header_group_key"],
            ["header_groups.header_group_key"],
            name=op.f("fk_instances_header_group_key_header_groups"),
        ),
        sa.ForeignKeyConstraint(
            ["series_key"], ["series.series_key"], name=op.f("fk_instances_series_key_series")
        ),
        sa.ForeignKeyConstraint(
            ["study_key"], ["studies.study_key"], name=op.f("fk_instances_study_key_studies")
        ),
        sa.PrimaryKeyConstraint("instance_key", name=op.f("pk_instances")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_instances_sop_instance_uid")),
        comment="One row per stored instance; its file holds the data set exactly as received.",
    )
    op.create_index("ix_instances_association_id", "instances", ["association_id"], unique=False)
    op.create_index("ix_instances_series_key", "instances", ["series_key"], unique=False)
    op.create_index(
        "ix_instances_study_key", "instances", ["study_key", "series_key"], unique=False
    )
    op.create_index(
        "ix_instances_undescribed",
        "instances",
        ["instance_key"],
        unique=False,
        sqlite_where=sa.text("described_at IS NULL"),
        postgresql_where=sa.text("described_at IS NULL"),
    )
    op.create_table(
        "headers",
        sa.Column("instance_key", Key, autoincrement=False, nullable=False, comment="the instance"),
        sa.Column("dicom_json", Json, nullable=False, comment="complete header, PS3.18 annex F"),
        sa.Column("findings", Json, nullable=True, comment="what could not be decoded, and why"),
        sa.ForeignKeyConstraint(
            ["instance_key"],
            ["instances.instance_key"],
            name=op.f("fk_headers_instance_key_instances"),
        ),
        sa.PrimaryKeyConstraint("instance_key", name=op.f("pk_headers")),
        comment="The complete header of each described instance.",
    )
    op.create_table(
        "instance_deliveries",
        sa.Column("delivery_key", Key, nullable=False, comment="the delivery"),
        sa.Column("instance_key", Key, nullable=False, comment="the instance"),
        sa.Column("status", sa.String(16), nullable=False, comment="the PACS's own C-STORE status"),
        sa.Column("delivered", sa.Boolean(), nullable=False, comment="whether the PACS took it"),
        sa.Column(
            "warning",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="whether it took it with a warning",
        ),
        sa.Column(
            "detail",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="what the answer means, and its Error Comment",
        ),
        sa.Column("answered_at", Time, nullable=False, comment="when the PACS answered"),
        sa.ForeignKeyConstraint(
            ["delivery_key"],
            ["deliveries.delivery_key"],
            name=op.f("fk_instance_deliveries_delivery_key_deliveries"),
        ),
        sa.ForeignKeyConstraint(
            ["instance_key"],
            ["instances.instance_key"],
            name=op.f("fk_instance_deliveries_instance_key_instances"),
        ),
        sa.PrimaryKeyConstraint(
            "delivery_key", "instance_key", name=op.f("pk_instance_deliveries")
        ),
        comment="One row per instance and PACS that has answered for it.",
    )
    op.create_index(
        "ix_instance_deliveries_instance_key", "instance_deliveries", ["instance_key"], unique=False
    )

    op.create_table(
        "storage_commitments",
        sa.Column(
            "commitment_key",
            Key,
            autoincrement=True,
            nullable=False,
            comment="made by the database",
        ),
        sa.Column(
            "association_id", sa.String(32), nullable=False, comment="association that asked"
        ),
        sa.Column(
            "calling_ae_title", sa.String(16), nullable=False, comment="AE title of the requester"
        ),
        sa.Column(
            "transaction_uid", sa.String(64), nullable=False, comment="Transaction UID (0008,1195)"
        ),
        sa.Column(
            "is_repeat",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="whether the requester had used this Transaction UID before",
        ),
        sa.Column(
            "state",
            sa.String(16),
            nullable=False,
            comment="asked, checked, reported or unreported",
        ),
        sa.Column("asked_at", Time, nullable=False, comment="when it was asked for"),
        sa.Column(
            "due_at", Time, nullable=True, comment="when to work on it; null = nothing to do"
        ),
        sa.Column(
            "checked_at",
            Time,
            nullable=True,
            comment="when the last of its instances was looked at",
        ),
        sa.Column("reported_at", Time, nullable=True, comment="when the requester took the result"),
        sa.Column(
            "number_of_instances", sa.Integer(), nullable=False, comment="instances asked for"
        ),
        sa.Column(
            "failed",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="instances that are not committed",
        ),
        sa.Column(
            "attempts",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="tries to report the result that failed",
        ),
        sa.Column(
            "last_error",
            sa.Text(),
            server_default="",
            nullable=False,
            comment="why the last try failed",
        ),
        sa.Column(
            "fence",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="number of the claim; an older one can write nothing",
        ),
        sa.ForeignKeyConstraint(
            ["association_id"],
            ["associations.association_id"],
            name=op.f("fk_storage_commitments_association_id_associations"),
        ),
        sa.PrimaryKeyConstraint("commitment_key", name=op.f("pk_storage_commitments")),
        comment="One row per request for storage commitment (PS3.4 annex J).",
    )
    op.create_index(
        "ix_storage_commitments_transaction_uid",
        "storage_commitments",
        ["calling_ae_title", "transaction_uid"],
        unique=True,
        sqlite_where=sa.text("NOT is_repeat"),
        postgresql_where=sa.text("NOT is_repeat"),
    )
    op.create_index(
        "ix_storage_commitments_due",
        "storage_commitments",
        ["state", "due_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_storage_commitments_asked_at", "storage_commitments", ["asked_at"], unique=False
    )
    op.create_table(
        "storage_commitment_items",
        sa.Column("commitment_key", Key, nullable=False, comment="the request"),
        sa.Column(
            "number",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="place in the request, from 1",
        ),
        sa.Column(
            "sop_class_uid",
            sa.String(64),
            nullable=False,
            comment="Referenced SOP Class UID (0008,1150)",
        ),
        sa.Column(
            "sop_instance_uid",
            sa.String(64),
            nullable=False,
            comment="Referenced SOP Instance UID (0008,1155)",
        ),
        sa.Column(
            "result",
            sa.String(16),
            server_default="",
            nullable=False,
            comment="committed, or a Failure Reason (0008,1197) such as 0112",
        ),
        sa.ForeignKeyConstraint(
            ["commitment_key"],
            ["storage_commitments.commitment_key"],
            name=op.f("fk_storage_commitment_items_commitment_key_storage_commitments"),
        ),
        sa.PrimaryKeyConstraint(
            "commitment_key", "number", name=op.f("pk_storage_commitment_items")
        ),
        comment="One row per instance of a request for storage commitment.",
    )
    op.create_table(
        "companions",
        sa.Column(
            "companion_key", Key, autoincrement=True, nullable=False, comment="made by the database"
        ),
        sa.Column("resource_key", Key, nullable=False, comment="the ImagingStudy it goes with"),
        sa.Column(
            "kind",
            sa.String(16),
            nullable=False,
            comment="device, provenance, dose or measurements",
        ),
        sa.Column("resource_type", sa.String(32), nullable=False, comment="FHIR type"),
        sa.Column(
            "identifier",
            sa.Text(),
            nullable=False,
            comment="system|value that a server recognises it by",
        ),
        sa.Column(
            "source_uid",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="SOP Instance UID of the report it was made from",
        ),
        sa.Column("series", Json, nullable=False, comment="UIDs of the series that a Device made"),
        sa.Column(
            "resource",
            sa.Text(),
            nullable=False,
            comment="the resource as JSON text, with every digit of the report",
        ),
        sa.ForeignKeyConstraint(
            ["resource_key"],
            ["resources.resource_key"],
            name=op.f("fk_companions_resource_key_resources"),
        ),
        sa.PrimaryKeyConstraint("companion_key", name=op.f("pk_companions")),
        comment="One row per resource that goes with an ImagingStudy.",
    )
    op.create_index("ix_companions_resource_key", "companions", ["resource_key"], unique=False)
    op.create_table(
        "delivered_resources",
        sa.Column(
            "delivered_resource_key",
            Key,
            autoincrement=True,
            nullable=False,
            comment="made by the database",
        ),
        sa.Column(
            "destination",
            sa.String(64),
            nullable=False,
            comment="name of the destination in intu.yaml",
        ),
        sa.Column(
            "study_key", Key, nullable=True, comment="the study; null = all studies share it"
        ),
        sa.Column(
            "kind",
            sa.String(16),
            nullable=False,
            comment="endpoint, device, provenance, dose or measurements",
        ),
        sa.Column("resource_type", sa.String(32), nullable=False, comment="FHIR type"),
        sa.Column(
            "identifier",
            sa.Text(),
            nullable=False,
            comment="system|value that the server recognises it by",
        ),
        sa.Column(
            "server_id",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="id at the server",
        ),
        sa.Column(
            "server_version",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="its version there",
        ),
        sa.Column(
            "content_hash",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="SHA-256 of what was sent; equal content is not sent again",
        ),
        sa.Column(
            "delivered_at", Time, nullable=False, comment="when the server last confirmed it"
        ),
        sa.Column(
            "withdrawn_at", Time, nullable=True, comment="when it was marked as entered in error"
        ),
        sa.ForeignKeyConstraint(
            ["study_key"],
            ["studies.study_key"],
            name=op.f("fk_delivered_resources_study_key_studies"),
        ),
        sa.PrimaryKeyConstraint("delivered_resource_key", name=op.f("pk_delivered_resources")),
        sa.UniqueConstraint(
            "destination",
            "resource_type",
            "identifier",
            name=op.f("uq_delivered_resources_destination_resource_type_identifier"),
        ),
        comment="One row per resource beside the ImagingStudy that a FHIR server has taken.",
    )
    op.create_index(
        "ix_delivered_resources_study_key",
        "delivered_resources",
        ["study_key", "destination"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index("ix_delivered_resources_study_key", table_name="delivered_resources")
    op.drop_table("delivered_resources")
    op.drop_index("ix_companions_resource_key", table_name="companions")
    op.drop_table("companions")
    op.drop_table("storage_commitment_items")
    op.drop_index("ix_storage_commitments_asked_at", table_name="storage_commitments")
    op.drop_index(
        "ix_storage_commitments_due",
        table_name="storage_commitments",
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_storage_commitments_transaction_uid",
        table_name="storage_commitments",
        sqlite_where=sa.text("NOT is_repeat"),
        postgresql_where=sa.text("NOT is_repeat"),
    )
    op.drop_table("storage_commitments")
    op.drop_index("ix_instance_deliveries_instance_key", table_name="instance_deliveries")
    op.drop_table("instance_deliveries")
    op.drop_table("headers")
    op.drop_index(
        "ix_instances_undescribed",
        table_name="instances",
        sqlite_where=sa.text("described_at IS NULL"),
        postgresql_where=sa.text("described_at IS NULL"),
    )
    op.drop_index("ix_instances_study_key", table_name="instances")
    op.drop_index("ix_instances_series_key", table_name="instances")
    op.drop_index("ix_instances_association_id", table_name="instances")
    op.drop_table("instances")
    op.drop_table("header_groups")
    op.drop_index("ix_attempts_delivery_key", table_name="attempts")
    op.drop_table("attempts")
    op.drop_index(
        "ix_work_due",
        table_name="work",
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_table("work")
    op.drop_index("ix_series_series_instance_uid", table_name="series")
    op.drop_table("series")
    op.drop_table("resources")
    op.drop_index("ix_quarantine_sop_instance_uid", table_name="quarantine")
    op.drop_table("quarantine")
    op.drop_index(
        "ix_holds_open",
        table_name="holds",
        sqlite_where=sa.text("released_at IS NULL"),
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.drop_table("holds")
    op.drop_table("generations")
    op.drop_index("ix_deliveries_state", table_name="deliveries")
    op.drop_index(
        "ix_deliveries_due",
        table_name="deliveries",
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_table("deliveries")
    op.drop_index("ix_association_studies_study_key", table_name="association_studies")
    op.drop_table("association_studies")
    op.drop_index("ix_studies_study_date", table_name="studies")
    op.drop_index("ix_studies_patient_id", table_name="studies")
    op.drop_index("ix_studies_last_received_at", table_name="studies")
    op.drop_index("ix_studies_accession_number", table_name="studies")
    op.drop_table("studies")
    op.drop_index("ix_associations_started_at", table_name="associations")
    op.drop_table("associations")
