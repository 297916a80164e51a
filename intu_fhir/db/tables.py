"""The staging database as tables.

Names and columns are a public interface: people write SQL on them
(``docs/reference/schema.md``). Change them in two moves: add, ship, then remove.
Raw DICOM values are text exactly as decoded; times are UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, Table, UniqueConstraint, text
from sqlalchemy.dialects import postgresql


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware UTC datetimes: ``timestamptz`` on PostgreSQL, sortable text on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse naive times, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """Give back aware UTC."""
        if value is None:
            return None
        stored: datetime = value
        return stored.replace(tzinfo=UTC) if stored.tzinfo is None else stored.astimezone(UTC)


Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
Uid = sa.String(64)

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

associations = Table(
    "associations",
    metadata,
    Column("association_id", sa.String(32), primary_key=True),
    Column("kind", sa.String(16), nullable=False, comment="network, or import (the batch door)"),
    Column("channel", sa.String(64), nullable=False),
    Column("receiver", sa.String(64), nullable=False, server_default=""),
    Column("calling_ae_title", sa.String(16), nullable=False, server_default=""),
    Column("called_ae_title", sa.String(16), nullable=False, server_default=""),
    Column("peer_address", sa.String(64), nullable=False, server_default=""),
    Column("peer_implementation", sa.String(64), nullable=False, server_default=""),
    Column("tls", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("end_reason", sa.String(32), nullable=False, server_default=""),
    Column("stored", sa.Integer, nullable=False, server_default="0"),
    Column("already_stored", sa.Integer, nullable=False, server_default="0"),
    Column("quarantined", sa.Integer, nullable=False, server_default="0"),
    Column("refused", sa.Integer, nullable=False, server_default="0"),
    Index("ix_associations_started_at", "started_at"),
)

studies = Table(
    "studies",
    metadata,
    Column("study_key", Key, primary_key=True, autoincrement=True),
    Column("study_instance_uid", Uid, nullable=False, unique=True),
    Column("channel", sa.String(64), nullable=False, comment="channel of the first instance"),
    Column("first_received_at", UtcDateTime, nullable=False),
    Column("last_received_at", UtcDateTime, nullable=False),
    Column("revision", sa.Integer, nullable=False, comment="counts changes of staged content"),
    Column("generation", sa.Integer, nullable=False, server_default="0", comment="newest settled"),
    Column("settle_requested_by", sa.String(64), comment="operator who asked to settle at once"),
    Column("number_of_series", sa.Integer, nullable=False, server_default="0"),
    Column("number_of_instances", sa.Integer, nullable=False, server_default="0"),
    Column("modalities", sa.String(256), nullable=False, server_default=""),
    Column("patient_id", sa.Text, nullable=False, server_default=""),
    Column("issuer_of_patient_id", sa.Text, nullable=False, server_default=""),
    Column("patient_name", sa.Text, nullable=False, server_default=""),
    Column("patient_birth_date", sa.Text, nullable=False, server_default=""),
    Column("patient_sex", sa.Text, nullable=False, server_default=""),
    Column("accession_number", sa.Text, nullable=False, server_default=""),
    Column("study_date", sa.Text, nullable=False, server_default=""),
    Column("study_time", sa.Text, nullable=False, server_default=""),
    Column("study_description", sa.Text, nullable=False, server_default=""),
    Column("study_id", sa.Text, nullable=False, server_default="", comment="(0020,0010)"),
    Column("referring_physician_name", sa.Text, nullable=False, server_default=""),
    Index("ix_studies_last_received_at", "last_received_at", "study_key"),
    Index("ix_studies_patient_id", "patient_id"),
    Index("ix_studies_accession_number", "accession_number"),
    Index("ix_studies_study_date", "study_date"),
)

series = Table(
    "series",
    metadata,
    Column("series_key", Key, primary_key=True, autoincrement=True),
    Column("study_key", Key, ForeignKey("studies.study_key"), nullable=False),
    Column("series_instance_uid", Uid, nullable=False),
    Column("number_of_instances", sa.Integer, nullable=False, server_default="0"),
    Column("modality", sa.Text, nullable=False, server_default=""),
    Column("series_number", sa.Text, nullable=False, server_default=""),
    Column("series_description", sa.Text, nullable=False, server_default=""),
    Column("series_date", sa.Text, nullable=False, server_default=""),
    Column("series_time", sa.Text, nullable=False, server_default=""),
    Column("body_part_examined", sa.Text, nullable=False, server_default=""),
    Column("laterality", sa.Text, nullable=False, server_default=""),
    Column("manufacturer", sa.Text, nullable=False, server_default=""),
    Column("manufacturer_model_name", sa.Text, nullable=False, server_default=""),
    Column("station_name", sa.Text, nullable=False, server_default=""),
    Column("performing_physician_name", sa.Text, nullable=False, server_default=""),
    Column("operators_name", sa.Text, nullable=False, server_default=""),
    UniqueConstraint("study_key", "series_instance_uid"),
    Index("ix_series_series_instance_uid", "series_instance_uid"),
)

header_groups = Table(
    "header_groups",
    metadata,
    Column("header_group_key", Key, primary_key=True, autoincrement=True),
    Column("series_key", Key, ForeignKey("series.series_key"), nullable=False),
    Column("digest", sa.String(64), nullable=False),
    Column("attributes", Json, nullable=False, comment="raw values by DICOM keyword"),
    UniqueConstraint("series_key", "digest"),
    comment="Distinct sets of patient, study and series attributes within a series.",
)

instances = Table(
    "instances",
    metadata,
    Column("instance_key", Key, primary_key=True, autoincrement=True),
    Column("sop_instance_uid", Uid, nullable=False, unique=True),
    Column("study_key", Key, ForeignKey("studies.study_key"), nullable=False),
    Column("series_key", Key, ForeignKey("series.series_key"), nullable=False),
    Column(
        "association_id", sa.String(32), ForeignKey("associations.association_id"), nullable=False
    ),
    Column("sop_class_uid", Uid, nullable=False),
    Column("transfer_syntax_uid", Uid, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("file", sa.Text, nullable=False, comment="path below the file store"),
    Column("data_set_offset", sa.Integer, nullable=False),
    Column("data_set_bytes", sa.BigInteger, nullable=False),
    Column("sha256", sa.String(64), nullable=False, comment="of the data set bytes"),
    Column("patient_id", sa.Text, nullable=False, server_default=""),
    Column("issuer_of_patient_id", sa.Text, nullable=False, server_default=""),
    Column("modality", sa.Text, nullable=False, server_default=""),
    Column("series_number", sa.Text, nullable=False, server_default=""),
    Column("instance_number", sa.Text, nullable=False, server_default=""),
    Column("number_of_frames", sa.Text, nullable=False, server_default=""),
    Column("attributes", Json, comment="raw instance-level values by DICOM keyword"),
    Column("header_group_key", Key, ForeignKey("header_groups.header_group_key")),
    Column("described_at", UtcDateTime, comment="when the complete header was staged"),
    Index("ix_instances_study_key", "study_key", "series_key"),
    Index("ix_instances_series_key", "series_key"),
    Index("ix_instances_association_id", "association_id"),
    Index(
        "ix_instances_undescribed",
        "instance_key",
        sqlite_where=text("described_at IS NULL"),
        postgresql_where=text("described_at IS NULL"),
    ),
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
    ),
    Column("dicom_json", Json, nullable=False, comment="complete header, PS3.18 annex F"),
    Column("findings", Json, comment="what could not be decoded, and why"),
)

association_studies = Table(
    "association_studies",
    metadata,
    Column(
        "association_id", sa.String(32), ForeignKey("associations.association_id"), primary_key=True
    ),
    Column("study_key", Key, ForeignKey("studies.study_key"), primary_key=True),
    Index("ix_association_studies_study_key", "study_key"),
    comment="Which association brought instances of which study.",
)

generations = Table(
    "generations",
    metadata,
    Column("generation_key", Key, primary_key=True, autoincrement=True),
    Column("study_key", Key, ForeignKey("studies.study_key"), nullable=False),
    Column("generation", sa.Integer, nullable=False),
    Column("revision", sa.Integer, nullable=False, comment="staged content it was settled on"),
    Column("settled_at", UtcDateTime, nullable=False),
    Column("evidence", sa.String(32), nullable=False),
    Column("evidence_detail", sa.Text, nullable=False, server_default=""),
    Column("number_of_series", sa.Integer, nullable=False),
    Column("number_of_instances", sa.Integer, nullable=False),
    UniqueConstraint("study_key", "generation"),
)

resources = Table(
    "resources",
    metadata,
    Column("resource_key", Key, primary_key=True, autoincrement=True),
    Column("study_key", Key, ForeignKey("studies.study_key"), nullable=False),
    Column("generation", sa.Integer, nullable=False),
    Column("release", sa.String(8), nullable=False),
    Column("mapping_version", sa.String(64), nullable=False),
    Column("channel", sa.String(64), nullable=False),
    Column("built_at", UtcDateTime, nullable=False),
    Column("state", sa.String(16), nullable=False, comment="valid, invalid, filtered or held"),
    Column("content_hash", sa.String(64), nullable=False),
    Column("resource", Json, comment="ImagingStudy before the destination's subject"),
    Column("findings", Json, nullable=False),
    UniqueConstraint("study_key", "generation", "release", "mapping_version"),
)


def _claim_columns() -> list[Column[Any]]:
    """Columns of a row that workers claim; ``db.work`` explains them."""
    return [
        Column("want", sa.Integer, nullable=False, comment="newest generation wanted here"),
        Column("have", sa.Integer, nullable=False, server_default="0", comment="newest done"),
        Column("state", sa.String(16), nullable=False, server_default="waiting"),
        Column("due_at", UtcDateTime, comment="when to work on it; null = nothing to do"),
        Column("attempts", sa.Integer, nullable=False, server_default="0"),
        Column("first_failed_at", UtcDateTime),
        Column("last_error", sa.Text, nullable=False, server_default=""),
        Column("lease_holder", sa.String(64), nullable=False, server_default=""),
        Column("lease_until", UtcDateTime),
        Column("fence", sa.Integer, nullable=False, server_default="0"),
        Column("updated_at", UtcDateTime, nullable=False),
    ]


def _due_index(name: str, *columns: str) -> Index:
    """Index only what is due, so that finished work costs a claim nothing."""
    due = text("due_at IS NOT NULL")
    return Index(name, *columns, sqlite_where=due, postgresql_where=due)


work = Table(
    "work",
    metadata,
    Column("work_key", Key, primary_key=True, autoincrement=True),
    Column("study_key", Key, ForeignKey("studies.study_key"), nullable=False),
    Column("step", sa.String(16), nullable=False, comment="aggregate or build"),
    *_claim_columns(),
    UniqueConstraint("study_key", "step"),
    _due_index("ix_work_due", "step", "due_at"),
    comment="One row per study and step before delivery; deliveries has the like.",
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_key", Key, primary_key=True, autoincrement=True),
    Column("study_key", Key, ForeignKey("studies.study_key"), nullable=False),
    Column("destination", sa.String(64), nullable=False),
    *_claim_columns(),
    Column("delivered_at", UtcDateTime),
    Column("server_id", sa.String(64), nullable=False, server_default=""),
    Column("server_version", sa.String(64), nullable=False, server_default=""),
    Column("content_hash", sa.String(64), nullable=False, server_default=""),
    Column("last_status", sa.String(64), nullable=False, server_default=""),
    Column("warning", sa.Text, nullable=False, server_default=""),
    UniqueConstraint("study_key", "destination"),
    _due_index("ix_deliveries_due", "destination", "due_at"),
    Index("ix_deliveries_state", "state", "destination"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("attempt_key", Key, primary_key=True, autoincrement=True),
    Column("delivery_key", Key, ForeignKey("deliveries.delivery_key"), nullable=False),
    Column("generation", sa.Integer, nullable=False),
    Column("number", sa.Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, nullable=False),
    Column("outcome", sa.String(16), nullable=False),
    Column("status", sa.String(64), nullable=False, server_default=""),
    Column("detail", sa.Text, nullable=False, server_default=""),
    Index("ix_attempts_delivery_key", "delivery_key"),
)

instance_deliveries = Table(
    "instance_deliveries",
    metadata,
    Column("delivery_key", Key, ForeignKey("deliveries.delivery_key"), primary_key=True),
    Column("instance_key", Key, ForeignKey("instances.instance_key"), primary_key=True),
    Column("status", sa.String(16), nullable=False, comment="the PACS's own C-STORE status"),
    Column("delivered", sa.Boolean, nullable=False),
    Column("warning", sa.Boolean, nullable=False, server_default=sa.false()),
    Column("detail", sa.Text, nullable=False, server_default=""),
    Column("answered_at", UtcDateTime, nullable=False),
    Index("ix_instance_deliveries_instance_key", "instance_key"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("quarantine_key", Key, primary_key=True, autoincrement=True),
    Column(
        "association_id", sa.String(32), ForeignKey("associations.association_id"), nullable=False
    ),
    Column("reason", sa.String(32), nullable=False),
    Column("detail", sa.Text, nullable=False, server_default=""),
    Column("sop_instance_uid", sa.Text, nullable=False, server_default=""),
    Column("study_instance_uid", sa.Text, nullable=False, server_default=""),
    Column("series_instance_uid", sa.Text, nullable=False, server_default=""),
    Column("file", sa.Text, nullable=False),
    Column("sha256", sa.String(64), nullable=False),
    Column(
        "stored_sha256",
        sa.String(64),
        nullable=False,
        server_default="",
        comment="of the instance that is staged under this UID",
    ),
    Column("received_at", UtcDateTime, nullable=False),
    Index("ix_quarantine_sop_instance_uid", "sop_instance_uid", "sha256"),
)

holds = Table(
    "holds",
    metadata,
    Column("hold_key", Key, primary_key=True, autoincrement=True),
    Column("study_key", Key, ForeignKey("studies.study_key"), nullable=False),
    Column(
        "destination",
        sa.String(64),
        nullable=False,
        server_default="",
        comment="empty = the whole study",
    ),
    Column("reason", sa.String(32), nullable=False),
    Column("detail", sa.Text, nullable=False, server_default=""),
    Column("generation", sa.Integer, nullable=False),
    Column("held_at", UtcDateTime, nullable=False),
    Column("released_at", UtcDateTime),
    Column("released_by", sa.String(64), nullable=False, server_default=""),
    Index(
        "ix_holds_open",
        "study_key",
        sqlite_where=text("released_at IS NULL"),
        postgresql_where=text("released_at IS NULL"),
    ),
)
