"""Every metric, declared once; no label ever holds patient data or text chosen by a peer."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

# Step 1, receive.
RECEIVE_CONNECTIONS = Counter(
    "intu_receive_connections_total",
    "Connections that brought no association, by what they ended with.",
    ["channel", "outcome"],
)
RECEIVE_ASSOCIATIONS = Counter(
    "intu_receive_associations_total", "Associations by how they ended.", ["channel", "reason"]
)
RECEIVE_ASSOCIATIONS_OPEN = Gauge(
    "intu_receive_associations_open", "Associations open now.", ["channel"]
)
RECEIVE_OBJECTS = Counter(
    "intu_receive_objects_total", "Objects answered, by what became of them.", ["channel", "as"]
)
RECEIVE_REFUSALS = Counter(
    "intu_receive_refusals_total", "Requests answered with a failure status.", ["channel", "status"]
)
RECEIVE_LIMITS = Counter(
    "intu_receive_limits_total",
    "Connections, associations and objects that a limit ended or refused, by its setting.",
    ["channel", "limit"],
)
RECEIVE_BYTES = Counter(
    "intu_receive_bytes_total", "Bytes of data sets that were answered.", ["channel"]
)
RECEIVE_ACCEPT_SECONDS = Histogram(
    "intu_receive_accept_seconds",
    "Time from the last byte of an object until it was durable or refused.",
    ["channel"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)

# The web page.
WEB_REQUESTS = Counter(
    "intu_web_requests_total",
    "Requests to the web page and its interfaces, by route and status.",
    ["route", "status"],
)
WEB_SECONDS = Histogram(
    "intu_web_request_seconds",
    "Time from a request to the end of its answer.",
    ["route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30),
)

# Step 2, stage.
FILES_UPLOADED = Counter("intu_files_uploaded_total", "Files that the object store has confirmed.")
UPLOADS_FAILED = Counter(
    "intu_uploads_failed_total", "Uploads to the object store that failed and are tried again."
)

# Step 5, deliver.
COMMITMENTS = Counter(
    "intu_commitments_total",
    "Requests to a PACS to promise that it keeps images, by how they ended: committed, failed, "
    "unanswered, rejected; given_up = a person is asked.",
    ["destination", "outcome"],
)

# All steps after the second.
CLOCK_OFFSET = Gauge(
    "intu_clock_offset_seconds",
    "By how much the clock of this worker is ahead of the database's, below 0 where it is behind.",
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A gauge that is read from the staging database when it is asked for."""

    name: str
    text: str
    labels: tuple[str, ...] = ()


# The state of the whole site, whichever process is asked.
DATABASE_UP = Standing("intu_database_up", "1 where the staging database answers, else 0.")
STUDIES = Standing("intu_studies", "Studies in the staging database.")
QUEUE = Standing(
    "intu_queue_items",
    "What waits, runs, fails, is held or is dead, by step and destination.",
    ("step", "destination", "state"),
)
QUEUE_OLDEST = Standing(
    "intu_queue_oldest_seconds",
    "Age of the one that has been so for longest.",
    ("step", "destination", "state"),
)
OVERDUE = Standing(
    "intu_overdue_items",
    "What is due and nobody has taken; without what waits for a paused or unreached destination.",
    ("step", "destination"),
)
OVERDUE_OLDEST = Standing(
    "intu_overdue_oldest_seconds", "For how long the first of them is due.", ("step", "destination")
)
KEPT_BACK = Standing(
    "intu_destination_kept_back_seconds",
    "For how long a destination is paused, down or recovering; absent where it is up.",
    ("destination", "state"),
)
HOLDS = Standing("intu_holds", "Holds that wait for a person.")
QUARANTINED = Standing("intu_quarantined_last_day", "Objects put aside in the last 24 hours.")
UPLOADS_WAITING = Standing(
    "intu_uploads_waiting",
    "Files that wait in a spool for their upload to the object store.",
    ("spool",),
)
UPLOADS_OVERDUE = Standing(
    "intu_uploads_overdue_seconds", "For how long the first of them is due.", ("spool",)
)
LAST_HOUR = Standing(
    "intu_last_hour_items",
    "What was done in the last hour: associations begun, instances stored, studies settled and "
    "built, tries that delivered and that failed.",
    ("done",),
)
FILES_FREE = Standing("intu_files_free_bytes", "Free space where the file store is.")
DATABASE_FREE = Standing(
    "intu_database_free_bytes", "Free space where an SQLite database is; absent with PostgreSQL."
)
