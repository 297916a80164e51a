"""The tables of storage commitment (PS3.4 annex J)."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, Table, text

from intu_fhir.db.kinds import Key, Uid, UtcDateTime, count, flag, given, key, moment, refers, words
from intu_fhir.db.metadata import due_index, metadata

storage_commitments = Table(
    "storage_commitments",
    metadata,
    key("commitment_key"),
    refers("association_id", "associations.association_id", "association that asked"),
    given("calling_ae_title", sa.String(16), "AE title of the requester"),
    given("transaction_uid", Uid, "Transaction UID (0008,1195)"),
    flag("is_repeat", "whether the requester had used this Transaction UID before"),
    given("state", sa.String(16), "received, asked, checked, reported or unreported"),
    moment("asked_at", "when it was asked for"),
    Column("due_at", UtcDateTime, comment="when to work on it; null = nothing to do"),
    Column("checked_at", UtcDateTime, comment="when the last of its instances was looked at"),
    Column("reported_at", UtcDateTime, comment="when the requester took the result"),
    given("number_of_instances", sa.Integer, "instances asked for"),
    count("failed", "instances that are not committed"),
    count("attempts", "tries to report the result that failed"),
    words("last_error", "why the last try failed"),
    count("fence", "number of the claim; an older one can write nothing"),
    Column(
        "packed",
        sa.LargeBinary,
        comment="its instances, until they have rows of their own; of a repeat for good",
    ),
    words("digest", "of its instances; empty where an older version took it", length=64),
    count("reached", "number of the last instance that is listed, then looked at"),
    Column(
        "holds_until",
        UtcDateTime,
        comment="when its instances have to be looked at again before the result is told",
    ),
    Index(
        "ix_storage_commitments_transaction_uid",
        "calling_ae_title",
        "transaction_uid",
        unique=True,
        sqlite_where=text("NOT is_repeat"),
        postgresql_where=text("NOT is_repeat"),
    ),
    due_index("ix_storage_commitments_due", "state", "due_at"),
    Index("ix_storage_commitments_asked_at", "asked_at"),
    # Holds all that is needed to sum up what has ended: the rows themselves may be large.
    Index(
        "ix_storage_commitments_ended",
        "asked_at",
        "number_of_instances",
        sqlite_where=text("due_at IS NULL"),
        postgresql_where=text("due_at IS NULL"),
    ),
    comment="One row per request for storage commitment (PS3.4 annex J).",
)

storage_commitment_items = Table(
    "storage_commitment_items",
    metadata,
    Column(
        "commitment_key",
        Key,
        ForeignKey("storage_commitments.commitment_key"),
        primary_key=True,
        comment="the request",
    ),
    Column(
        "number",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
        comment="place in the request, from 1",
    ),
    given("sop_class_uid", Uid, "Referenced SOP Class UID (0008,1150)"),
    given("sop_instance_uid", Uid, "Referenced SOP Instance UID (0008,1155)"),
    words("result", "committed, or a Failure Reason (0008,1197) such as 0112", length=16),
    comment="One row per instance of a request for storage commitment.",
)
