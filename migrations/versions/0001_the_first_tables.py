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
        sa.Column("association_id", sa.String(32), nullable=False),
        sa.Column(
            "kind", sa.String(16), nullable=False, comment="network, or import (the batch door)"
        ),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("receiver", sa.String(64), server_default="", nullable=False),
        sa.Column("calling_ae_title", sa.String(16), server_default="", nullable=False),
        sa.Column("called_ae_title", sa.String(16), server_default="", nullable=False),
        sa.Column("peer_address", sa.String(64), server_default="", nullable=False),
        sa.Column("peer_implementation", sa.String(64), server_default="", nullable=False),
        sa.Column("tls", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("started_at", Time, nullable=False),
        sa.Column("ended_at", Time, nullable=True),
        sa.Column("end_reason", sa.String(32), server_default="", nullable=False),
        sa.Column("stored", sa.Integer(), server_default="0", nullable=False),
        sa.Column("already_stored", sa.Integer(), server_default="0", nullable=False),
        sa.Column("quarantined", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refused", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("association_id", name=op.f("pk_associations")),
    )
    op.create_index("ix_associations_started_at", "associations", ["started_at"], unique=False)
    op.create_table(
        "studies",
        sa.Column("study_key", Key, autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column(
            "channel", sa.String(64), nullable=False, comment="channel of the first instance"
        ),
        sa.Column("first_received_at", Time, nullable=False),
        sa.Column("last_received_at", Time, nullable=False),
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
        sa.Column("number_of_series", sa.Integer(), server_default="0", nullable=False),
        sa.Column("number_of_instances", sa.Integer(), server_default="0", nullable=False),
        sa.Column("modalities", sa.String(256), server_default="", nullable=False),
        sa.Column("patient_id", sa.Text(), server_default="", nullable=False),
        sa.Column("issuer_of_patient_id", sa.Text(), server_default="", nullable=False),
        sa.Column("patient_name", sa.Text(), server_default="", nullable=False),
        sa.Column("patient_birth_date", sa.Text(), server_default="", nullable=False),
        sa.Column("patient_sex", sa.Text(), server_default="", nullable=False),
        sa.Column("accession_number", sa.Text(), server_default="", nullable=False),
        sa.Column("study_date", sa.Text(), server_default="", nullable=False),
        sa.Column("study_time", sa.Text(), server_default="", nullable=False),
        sa.Column("study_description", sa.Text(), server_default="", nullable=False),
        sa.Column("study_id", sa.Text(), server_default="", nullable=False, comment="(0020,0010)"),
        sa.Column("referring_physician_name", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("study_key", name=op.f("pk_studies")),
        sa.UniqueConstraint("study_instance_uid", name=op.f("uq_studies_study_instance_uid")),
    )
    op.create_index("ix_studies_accession_number", "studies", ["accession_number"], unique=False)
    op.create_index(
        "ix_studies_last_received_at", "studies", ["last_received_at", "study_key"], unique=False
    )
    op.create_index("ix_studies_patient_id", "studies", ["patient_id"], unique=False)
    op.create_index("ix_studies_study_date", "studies", ["study_date"], unique=False)
    op.create_table(
        "association_studies",
        sa.Column("association_id", sa.String(32), nullable=False),
        sa.Column("study_key", Key, nullable=False),
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
        sa.Column("delivery_key", Key, autoincrement=True, nullable=False),
        sa.Column("study_key", Key, nullable=False),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("want", sa.Integer(), nullable=False, comment="newest generation wanted here"),
        sa.Column("have", sa.Integer(), server_default="0", nullable=False, comment="newest done"),
        sa.Column("state", sa.String(16), server_default="waiting", nullable=False),
        sa.Column(
            "due_at", Time, nullable=True, comment="when to work on it; null = nothing to do"
        ),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_failed_at", Time, nullable=True),
        sa.Column("last_error", sa.Text(), server_default="", nullable=False),
        sa.Column("lease_holder", sa.String(64), server_default="", nullable=False),
        sa.Column("lease_until", Time, nullable=True),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("updated_at", Time, nullable=False),
        sa.Column("delivered_at", Time, nullable=True),
        sa.Column("server_id", sa.String(64), server_default="", nullable=False),
        sa.Column("server_version", sa.String(64), server_default="", nullable=False),
        sa.Column("content_hash", sa.String(64), server_default="", nullable=False),
        sa.Column("last_status", sa.String(64), server_default="", nullable=False),
        sa.Column("warning", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["study_key"], ["studies.study_key"], name=op.f("fk_deliveries_study_key_studies")
        ),
        sa.PrimaryKeyConstraint("delivery_key", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "study_key", "destination", name=op.f("uq_deliveries_study_key_destination")
        ),
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
        sa.Column("generation_key", Key, autoincrement=True, nullable=False),
        sa.Column("study_key", Key, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column(
            "revision", sa.Integer(), nullable=False, comment="staged content it was settled on"
        ),
        sa.Column("settled_at", Time, nullable=False),
        sa.Column("evidence", sa.String(32), nullable=False),
        sa.Column("evidence_detail", sa.Text(), server_default="", nullable=False),
        sa.Column("number_of_series", sa.Integer(), nullable=False),
        sa.Column("number_of_instances", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_key"], ["studies.study_key"], name=op.f("fk_generations_study_key_studies")
        ),
        sa.PrimaryKeyConstraint("generation_key", name=op.f("pk_generations")),
        sa.UniqueConstraint(
            "study_key", "generation", name=op.f("uq_generations_study_key_generation")
        ),
    )
    op.create_table(
        "holds",
        sa.Column("hold_key", Key, autoincrement=True, nullable=False),
        sa.Column("study_key", Key, nullable=False),
        sa.Column(
            "destination",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="empty = the whole study",
        ),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("held_at", Time, nullable=False),
        sa.Column("released_at", Time, nullable=True),
        sa.Column("released_by", sa.String(64), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["study_key"], ["studies.study_key"], name=op.f("fk_holds_study_key_studies")
        ),
        sa.PrimaryKeyConstraint("hold_key", name=op.f("pk_holds")),
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
        sa.Column("quarantine_key", Key, autoincrement=True, nullable=False),
        sa.Column("association_id", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), server_default="", nullable=False),
        sa.Column("study_instance_uid", sa.Text(), server_default="", nullable=False),
        sa.Column("series_instance_uid", sa.Text(), server_default="", nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column(
            "stored_sha256",
            sa.String(64),
            server_default="",
            nullable=False,
            comment="of the instance that is staged under this UID",
        ),
        sa.Column("received_at", Time, nullable=False),
        sa.ForeignKeyConstraint(
            ["association_id"],
            ["associations.association_id"],
            name=op.f("fk_quarantine_association_id_associations"),
        ),
        sa.PrimaryKeyConstraint("quarantine_key", name=op.f("pk_quarantine")),
    )
    op.create_index(
        "ix_quarantine_sop_instance_uid", "quarantine", ["sop_instance_uid", "sha256"], unique=False
    )
    op.create_table(
        "resources",
        sa.Column("resource_key", Key, autoincrement=True, nullable=False),
        sa.Column("study_key", Key, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("release", sa.String(8), nullable=False),
        sa.Column("mapping_version", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("built_at", Time, nullable=False),
        sa.Column(
            "state", sa.String(16), nullable=False, comment="valid, invalid, filtered or held"
        ),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column(
            "resource", Json, nullable=True, comment="ImagingStudy before the destination's subject"
        ),
        sa.Column("findings", Json, nullable=False),
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
    )
    op.create_table(
        "series",
        sa.Column("series_key", Key, autoincrement=True, nullable=False),
        sa.Column("study_key", Key, nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("number_of_instances", sa.Integer(), server_default="0", nullable=False),
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
    )
    op.create_index(
        "ix_series_series_instance_uid", "series", ["series_instance_uid"], unique=False
    )
    op.create_table(
        "work",
        sa.Column("work_key", Key, autoincrement=True, nullable=False),
        sa.Column("study_key", Key, nullable=False),
        sa.Column("step", sa.String(16), nullable=False, comment="aggregate or build"),
        sa.Column("want", sa.Integer(), nullable=False, comment="newest generation wanted here"),
        sa.Column("have", sa.Integer(), server_default="0", nullable=False, comment="newest done"),
        sa.Column("state", sa.String(16), server_default="waiting", nullable=False),
        sa.Column(
            "due_at", Time, nullable=True, comment="when to work on it; null = nothing to do"
        ),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_failed_at", Time, nullable=True),
        sa.Column("last_error", sa.Text(), server_default="", nullable=False),
        sa.Column("lease_holder", sa.String(64), server_default="", nullable=False),
        sa.Column("lease_until", Time, nullable=True),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("updated_at", Time, nullable=False),
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
        sa.Column("attempt_key", Key, autoincrement=True, nullable=False),
        sa.Column("delivery_key", Key, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", Time, nullable=False),
        sa.Column("ended_at", Time, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("status", sa.String(64), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_key"],
            ["deliveries.delivery_key"],
            name=op.f("fk_attempts_delivery_key_deliveries"),
        ),
        sa.PrimaryKeyConstraint("attempt_key", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_delivery_key", "attempts", ["delivery_key"], unique=False)
    op.create_table(
        "header_groups",
        sa.Column("header_group_key", Key, autoincrement=True, nullable=False),
        sa.Column("series_key", Key, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
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
        sa.Column("instance_key", Key, autoincrement=True, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("study_key", Key, nullable=False),
        sa.Column("series_key", Key, nullable=False),
        sa.Column("association_id", sa.String(32), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(64), nullable=False),
        sa.Column("received_at", Time, nullable=False),
        sa.Column("file", sa.Text(), nullable=False, comment="path below the file store"),
        sa.Column("data_set_offset", sa.Integer(), nullable=False),
        sa.Column("data_set_bytes", sa.BigInteger(), nullable=False),
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
        sa.Column("header_group_key", Key, nullable=True),
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
        sa.Column("instance_key", Key, autoincrement=False, nullable=False),
        sa.Column("dicom_json", Json, nullable=False, comment="complete header, PS3.18 annex F"),
        sa.Column("findings", Json, nullable=True, comment="what could not be decoded, and why"),
        sa.ForeignKeyConstraint(
            ["instance_key"],
            ["instances.instance_key"],
            name=op.f("fk_headers_instance_key_instances"),
        ),
        sa.PrimaryKeyConstraint("instance_key", name=op.f("pk_headers")),
    )
    op.create_table(
        "instance_deliveries",
        sa.Column("delivery_key", Key, nullable=False),
        sa.Column("instance_key", Key, nullable=False),
        sa.Column("status", sa.String(16), nullable=False, comment="the PACS's own C-STORE status"),
        sa.Column("delivered", sa.Boolean(), nullable=False),
        sa.Column("warning", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("answered_at", Time, nullable=False),
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
    )
    op.create_index(
        "ix_instance_deliveries_instance_key", "instance_deliveries", ["instance_key"], unique=False
    )


def downgrade() -> None:
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
