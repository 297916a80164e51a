"""The tables of what goes to a FHIR server beside the ImagingStudy."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, Table, UniqueConstraint

from intu_fhir.db.kinds import Json, Key, UtcDateTime, given, key, moment, refers, words
from intu_fhir.db.metadata import metadata

companions = Table(
    "companions",
    metadata,
    key("companion_key"),
    refers("resource_key", "resources.resource_key", "the ImagingStudy it goes with"),
    given("kind", sa.String(16), "device, provenance, dose, measurements or document"),
    given("resource_type", sa.String(32), "FHIR type"),
    given("identifier", sa.Text, "system|value that a server recognises it by"),
    words("source_uid", "SOP Instance UID of the report it was made from", length=64),
    given("series", Json, "UIDs of the series that a Device made"),
    given("resource", sa.Text, "the resource as JSON text, with every digit of the report"),
    Index("ix_companions_resource_key", "resource_key"),
    comment="One row per resource that goes with an ImagingStudy.",
)

delivered_resources = Table(
    "delivered_resources",
    metadata,
    key("delivered_resource_key"),
    given("destination", sa.String(64), "name of the destination in intu.yaml"),
    Column(
        "study_key",
        Key,
        ForeignKey("studies.study_key"),
        comment="the study; null = all studies share it",
    ),
    given("kind", sa.String(16), "endpoint, device, provenance, dose, measurements or document"),
    given("resource_type", sa.String(32), "FHIR type"),
    given("identifier", sa.Text, "system|value that the server recognises it by"),
    words("server_id", "id at the server", length=64),
    words("server_version", "its version there", length=64),
    words("content_hash", "SHA-256 of what was sent; equal content is not sent again", length=64),
    moment("delivered_at", "when the server last confirmed it"),
    Column("withdrawn_at", UtcDateTime, comment="when it was marked as entered in error"),
    UniqueConstraint("destination", "resource_type", "identifier"),
    Index("ix_delivered_resources_study_key", "study_key", "destination"),
    comment="One row per resource beside the ImagingStudy that a FHIR server has taken.",
)
