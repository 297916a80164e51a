"""The ledger of files on their way to an object store."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Index, Table

from intu_fhir.db.kinds import count, given, moment, words
from intu_fhir.db.metadata import metadata

uploads = Table(
    "uploads",
    metadata,
    sa.Column("file", sa.Text, primary_key=True, comment="name in the spool and in the bucket"),
    given("spool", sa.String(64), "name of the spool folder that has the bytes"),
    given("data_set_offset", sa.Integer, "bytes in the file before the data set"),
    given("sha256", sa.String(64), "of the data set bytes, as received"),
    moment("due_at", "when to upload it"),
    count("attempts", "uploads that failed"),
    words("last_error", "why the last one failed"),
    Index("ix_uploads_spool", "spool", "due_at"),
    comment="One row per file that the object store has not confirmed yet; without a row it has.",
)
