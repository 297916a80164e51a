"""The section ``object_store``: how an S3-compatible store is reached, and what is kept here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PlainValidator, PositiveInt
from pydantic_core import PydanticCustomError

from intu_fhir.settings.base import Seconds, Settings

_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,62}(/[^\s?#]*)?")


def _place(value: object) -> Path | str:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("path_type", "must be a path")
    if not value.startswith("s3:"):
        return Path(value)
    if not _URL.fullmatch(value):
        raise ValueError("not a bucket and prefix; write s3://bucket/prefix")
    return value


FilesPlace: TypeAlias = Annotated[Path | str, PlainValidator(_place)]
"""A folder, or ``s3://bucket/prefix``, which stays text."""


class ObjectStore(Settings):
    """The object store that `files: s3://bucket/prefix` names."""

    spool: Path = Path("data/spool")
    """Folder of this machine in which objects are durable until their upload is confirmed. It has
    to outlive the process; with containers, a volume.
    """
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$")] | None = None
    """Address of the store; absent = AWS."""
    region: str = "us-east-1"
    """Region of the bucket."""
    access_key_id: str | None = None
    """Name of the access key; absent = as the environment or the machine's role says."""
    secret_access_key: str | None = Field(default=None, repr=False)
    """Its secret; write `${env:NAME}` or `${file:path}`."""
    virtual_hosted: bool = False
    """True = the bucket is part of the host name, not of the path."""
    ca_file: Path | None = None
    """Authority to trust, PEM; absent = the usual ones."""
    answer: Literal["spooled", "uploaded"] = "spooled"
    """When a sender gets Success: once the object is durable on this machine's disk, or only
    once the object store holds it, too."""
    verify: Literal["read", "head"] = "read"
    """How an upload is confirmed: by reading the object back, or by asking for its size and
    digest only."""
    uploads: Annotated[int, Field(ge=1, le=64)] = 8
    """Objects on their way at the same time, for each machine that receives."""
    cache_bytes: Annotated[int, Field(ge=0)] = 4 * 1024**3
    """How much of this machine's disk copies of stored objects may take; 0 = none are kept."""
    timeout_seconds: Seconds = 30.0
    """How long the store may be silent."""
    server_side_encryption: Literal["AES256", "aws:kms"] | None = None
    """What the store is asked to encrypt with; absent = as the bucket says."""
    kms_key_id: str | None = None
    """Key of `aws:kms`; absent = the bucket's."""
    key_files: tuple[Path, ...] = ()
    """Keys of 32 bytes. Present = every file is sealed (AES-256-GCM) before it leaves this
    machine, with the first key; the others open what was sealed before."""
    retry_seconds: PositiveInt = 60
    """Longest wait before an upload that failed is tried again."""
