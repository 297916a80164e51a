"""Every metric, declared once; no label ever holds patient data or text chosen by a peer."""

from __future__ import annotations

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
