"""How a connection ends, and who is told: metrics, the application, the log."""

from __future__ import annotations

import structlog

from intu_fhir.model.instance import Disposition, Origin
from intu_fhir.observe import metrics
from intu_fhir.observe.tracing import Span
from intu_fhir.receive import statuses
from intu_fhir.receive.intake import Intake
from intu_fhir.receive.ports import AssociationEnded, EndReason
from intu_fhir.receive.service import Service
from intu_fhir.settings.schema import Receiver

_log = structlog.get_logger("intu_fhir.receive")
_TEXT_LENGTH = 96
ADDRESS_REFUSED, ACCEPT_FAILED, NO_THREAD = "address_refused", "accept_failed", "no_thread"
NOT_SERVED = (ADDRESS_REFUSED, ACCEPT_FAILED, NO_THREAD)
"""Why a connection was not even listened to."""
_NO_LIMITS = frozenset(
    {"character_sets", "processes", "shutdown_grace_seconds", "storage_commitment"}
)
_OF_COMMITMENT = (
    "max_instances",
    "max_waiting",
    "max_waiting_of_one",
    "max_waiting_instances",
    "max_waiting_instances_of_one",
)
LIMITS = (
    *(name for name in Receiver.model_fields if name not in _NO_LIMITS),
    *(f"storage_commitment.{name}" for name in _OF_COMMITMENT),
)
"""The settings that may end or refuse something."""


class Ended(Exception):
    """The connection ends now.

    Args:
        detail: a short stable name or one of our own sentences, for the log.
        last_pdu: what the peer is still told.
        limit: key of the setting that was passed, if one was.
    """

    def __init__(
        self, reason: EndReason, detail: str = "", last_pdu: bytes = b"", *, limit: str = ""
    ) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail, self.last_pdu, self.limit = reason, detail, last_pdu, limit


def printable(text: str) -> str:
    """Return a peer's text as printable ASCII of bounded length, for logs and tables."""
    return text.encode("unicode_escape").decode("ascii")[:_TEXT_LENGTH]


def report_connection(service: Service, address: str, ended: Ended) -> None:
    """Count and log a connection that brought no association."""
    channel = service.channel
    metrics.RECEIVE_CONNECTIONS.labels(channel, ended.reason).inc()
    _count_limit(channel, ended)
    said = {"reason": ended.reason, "detail": ended.detail, "limit": ended.limit}
    if ended.reason is EndReason.REJECTED:  # a modality that is not let in is worth a look
        service.rejections.note(channel, address, ended.detail, service.clock.now())
        _log.warning("connection_without_association", channel=channel, peer=address, **said)
    else:
        _log.info("connection_without_association", channel=channel, peer=address, **said)


def _count_limit(channel: str, ended: Ended) -> None:
    if ended.limit:
        metrics.RECEIVE_LIMITS.labels(channel, ended.limit).inc()


def end_span(span: Span, intake: Intake, ended: Ended) -> None:
    """Say in the trace how an association ended."""
    counts = {disposition.value: count for disposition, count in intake.counts.items()}
    span.end(is_well=ended.reason in _WELL, reason=ended.reason, **counts)


_WELL = frozenset({EndReason.RELEASED, EndReason.STOPPED})


def count_from_zero(channel: str) -> None:
    """Have the counters of a channel stand at 0 before anything happens.

    To Prometheus a counter that begins at 1 has not risen: the first refusal would raise no alert.
    """
    for status in statuses.FAILURES:
        metrics.RECEIVE_REFUSALS.labels(channel, f"{status:04X}")
    for disposition in Disposition:
        metrics.RECEIVE_OBJECTS.labels(channel, disposition)
    for limit in LIMITS:
        metrics.RECEIVE_LIMITS.labels(channel, limit)
    for outcome in (*EndReason, *NOT_SERVED):
        metrics.RECEIVE_CONNECTIONS.labels(channel, outcome)
    for reason in EndReason:
        metrics.RECEIVE_ASSOCIATIONS.labels(channel, reason)


def report_association(
    origin: Origin, intake: Intake, ended: Ended, tell: AssociationEnded, *, unfinished: bool
) -> None:
    """Tell the application that an association ended, and count and log it."""
    metrics.RECEIVE_ASSOCIATIONS_OPEN.labels(origin.channel).dec()
    metrics.RECEIVE_ASSOCIATIONS.labels(origin.channel, ended.reason).inc()
    _count_limit(origin.channel, ended)
    _log.info(
        "association_ended",
        channel=origin.channel,
        association=origin.association_id,
        calling_ae_title=origin.calling_ae_title,
        peer=origin.peer_address,
        reason=ended.reason,
        detail=ended.detail,
        limit=ended.limit,
        unfinished=unfinished,
        **{disposition.value: count for disposition, count in intake.counts.items()},
    )
    try:
        tell(origin, ended.reason, dict(intake.counts))
    except Exception as error:  # noqa: BLE001  (one association's end, never the listener's)
        _log.error(
            "association_end_not_recorded",
            channel=origin.channel,
            association=origin.association_id,
            error=type(error).__name__,
        )
