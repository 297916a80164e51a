"""One connection from its first byte to its end, in a thread of its own.

Whatever a peer does or leaves undone ends here as one ``Ended``: with a reason, with a last PDU
where one still makes sense, and with the application told once.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace

import structlog

from intu_fhir.model.commitment import Requester
from intu_fhir.model.instance import Origin
from intu_fhir.observe import metrics
from intu_fhir.observe.tracing import Span, Tracing
from intu_fhir.receive.associate import AssociateRequest
from intu_fhir.receive.association import Association, Message
from intu_fhir.receive.deadlines import LIMIT_OF, Deadlines
from intu_fhir.receive.dimse import SUCCESS, ActionRequest, EventAnswer
from intu_fhir.receive.ending import (
    Ended,
    end_span,
    printable,
    report_association,
    report_connection,
)
from intu_fhir.receive.hurry import Hurry
from intu_fhir.receive.intake import Intake
from intu_fhir.receive.negotiation import (
    CALLED_AE_NOT_RECOGNIZED,
    LOCAL_LIMIT_EXCEEDED,
    TEMPORARY_CONGESTION,
    Agreement,
    Policy,
    Rejection,
    negotiate,
)
from intu_fhir.receive.ports import EndReason
from intu_fhir.receive.reporting import Mailbox
from intu_fhir.receive.service import Service, tick_seconds
from intu_fhir.receive.transport import PeerLost, Transport, tls_reason
from intu_fhir.receive.upper_layer import (
    NO_TURN,
    Abort,
    Event,
    Fragment,
    PduReader,
    encode_abort,
    encode_associate_reject,
    encode_release_response,
)
from intu_fhir.receive.violation import ProtocolViolation

_log = structlog.get_logger("intu_fhir.receive")
EVICTED = "evicted"
"""Why a connection ends that has to make room for another one."""


class Connection:
    """Serves one accepted socket; ``run`` is the body of its thread."""

    def __init__(self, service: Service, accepted: socket.socket, address: str) -> None:
        self._service = service
        self._address = address
        self._transport = Transport(accepted, tick_seconds(service.limits))
        limits = service.limits
        self._reader = PduReader(
            limits.max_pdu_bytes,
            limits.max_associate_bytes,
            limits.max_associate_items,
            service.turn,
        )
        self._deadlines = Deadlines(service.limits, service.clock.monotonic())
        self._evicted = False
        self._is_secured = service.tls is None
        self._slot = service.slots.enter(address, self._evict)
        self._association: Association | None = None
        self._intake: Intake | None = None
        self._message: Message | None = None
        self._mailbox: Mailbox | None = None
        self._owed = 0
        self.origin: Origin | None = None
        self._span: Span | None = None
        self.ended: Ended | None = None

    def run(self) -> None:
        """Serve the peer until something ends it; never raises."""
        try:
            self.ended = self._serve()
            self._end(self.ended)
        finally:
            self.close()

    def close(self) -> None:
        """Close the socket and give the slot back."""
        self._transport.close()
        self._service.slots.leave(self._slot)

    @property
    def is_shaking_hands(self) -> bool:
        """Say whether the peer cannot be told anything yet."""
        return not self._is_secured

    def interrupt(self) -> None:
        """End the connection from another thread."""
        self._transport.interrupt()

    def _evict(self) -> None:
        """Make room for a newer connection; called from another thread."""
        self._evicted = True
        self.interrupt()

    def _serve(self) -> Ended:
        try:
            self._start_tls()
            for event in self._events():
                self._on(event)
                del event  # while nothing comes, not even a request of many contexts is kept
        except Ended as ended:
            return ended
        except ProtocolViolation as violation:
            last_pdu = encode_abort(violation.reason)
            return Ended(EndReason.ABORTED_BY_US, str(violation), last_pdu, limit=violation.limit)
        except PeerLost as error:
            return Ended(EndReason.CONNECTION_LOST, str(error))
        except Exception as error:  # noqa: BLE001  (one peer's end, never the listener's)
            _log.error("internal_error", channel=self._service.channel, error=type(error).__name__)
            return Ended(EndReason.ABORTED_BY_US, "internal_error", encode_abort())
        raise AssertionError("events end by Ended only")

    def _start_tls(self) -> None:
        if self._service.tls is None:
            return
        try:
            self._transport.start_tls(self._service.tls, self._service.limits.handshake_seconds)
        except OSError as error:
            limit = "handshake_seconds" if isinstance(error, TimeoutError) else ""
            if self._evicted:
                raise Ended(EndReason.CONNECTION_LOST, EVICTED, limit="max_associations") from error
            detail = f"tls: {tls_reason(error)}"
            raise Ended(EndReason.CONNECTION_LOST, detail, limit=limit) from error
        self._is_secured = True

    def _events(self) -> Iterator[Event]:
        reader, clock, hurry = self._reader, self._service.clock, Hurry()
        heard, is_inside = clock.monotonic(), False
        while True:
            self._receive()
            if is_inside:
                hurry.waited(clock.monotonic() - heard)
            yield from reader.events()
            heard = clock.monotonic()
            self._deadlines.heard(heard, reader.open_pdu, inside_message=self._inside_message())
            is_inside = self._more_has_to_come()
            if self._slot.place is not None:
                since = self._deadlines.progressed
                self._slot.place.waits(since, inside_message=is_inside)
            if is_inside and hurry.is_wanted():
                self._transport.hurry_acknowledgement()

    def _receive(self) -> None:
        """Read into the reader's buffer; raises ``Ended`` when there is nothing to wait for."""
        space, place = self._reader.space(), self._slot.place
        while True:
            self._look_at_the_clock()
            count = self._transport.receive_into(space)
            if count:
                self._reader.received(count)
                self._deadlines.arrived(self._service.clock.monotonic(), count)
                if place is not None:
                    place.works()
                return
            if count == 0 and self._evicted:
                raise Ended(EndReason.CONNECTION_LOST, EVICTED, limit="max_associations")
            if count == 0:
                raise Ended(EndReason.CONNECTION_LOST, "closed_by_peer")

    def _look_at_the_clock(self) -> None:
        if self._slot.is_lost:
            abort = encode_abort()
            raise Ended(EndReason.ABORTED_BY_US, EVICTED, abort, limit="max_associations")
        overdue = self._deadlines.overdue(self._service.clock.monotonic())
        if overdue is not None:
            raise Ended(EndReason.TIMED_OUT, overdue, encode_abort(), limit=LIMIT_OF[overdue])
        if self._service.stopping.is_set():
            self._stop()
        if self._mailbox is not None and not self._more_has_to_come():
            self._tell(self._mailbox)

    def _tell(self, mailbox: Mailbox) -> None:
        """Send what waits for this association: a result of storage commitment."""
        association = self._association
        assert association is not None
        context = association.commitment_context
        if context is None or association.awaits_answer or (report := mailbox.next()) is None:
            return
        data_set = report.take_data_set(context.transfer_syntax_uid)
        message_id, pdus = association.event_report(context, report.event_type_id, data_set)
        mailbox.sent(message_id)
        for some in pdus:
            self._send(some)

    def _stop(self) -> None:
        if self._association is None:
            rejection = _encode(TEMPORARY_CONGESTION)
            raise Ended(EndReason.STOPPED, TEMPORARY_CONGESTION.cause, rejection)
        if not self._more_has_to_come():
            raise Ended(EndReason.STOPPED, "idle", encode_abort())
        if self._service.cutting.is_set():
            raise Ended(EndReason.STOPPED, "cut", encode_abort())

    def _more_has_to_come(self) -> bool:
        """Say whether a PDU or a message has begun and not ended.

        Senders write the header and the body of a PDU apart, so the wait may be in either.
        """
        return self._reader.open_pdu != 0 or self._inside_message()

    def _inside_message(self) -> bool:
        return self._association is not None and self._association.inside_message

    def _on(self, event: Event) -> None:
        if isinstance(event, Fragment):
            self._on_fragment(event)
        elif isinstance(event, AssociateRequest):
            self._on_associate(event)
        elif isinstance(event, Abort):
            raise Ended(EndReason.ABORTED_BY_PEER, f"source {event.source} reason {event.reason}")
        else:
            self._on_release()

    def _on_associate(self, request: AssociateRequest) -> None:
        if self._service.stopping.is_set():
            self._stop()
        with self._service.turn if request.is_long else NO_TURN:
            decision = negotiate(request, self._service.policy)
        now = self._service.clock.monotonic()
        if isinstance(decision, Agreement) and (
            limit := self._service.slots.associate(self._slot, now)
        ):
            decision = replace(LOCAL_LIMIT_EXCEEDED, limit=limit)
        if isinstance(decision, Rejection):
            raise _rejected(decision, request, self._service.policy)
        self._reader.established()
        service = self._service
        origin = _origin(request, self._address, service)
        self._span = _begin(service.tracing, origin)
        self.origin = replace(origin, trace_parent=self._span.trace_parent)
        self._association = Association(decision, service.limits.max_command_bytes)
        self._intake = Intake(service.store, self.origin)
        self._deadlines.associated(service.clock.monotonic())
        metrics.RECEIVE_ASSOCIATIONS_OPEN.labels(service.channel).inc()
        if self._association.commitment_context is not None:
            requester, asked_on = Requester.of(self.origin), self.origin.association_id
            self._mailbox = service.requesters.enter(requester, asked_on)
        self._send(decision.reply)

    def _on_fragment(self, fragment: Fragment) -> None:
        assert self._association is not None
        assert self._intake is not None
        step = self._association.take(fragment)
        if step is None:
            return
        if isinstance(step, Message):
            self._message = step
            self._deadlines.message_begun()
            self._intake.begin(step)
            if step.request.has_data_set:
                return
        elif isinstance(step, EventAnswer):
            self._on_answer(step)
            return
        else:
            self._intake.write(step.data)
            if not step.is_last:
                return
        self._answer(self._association, self._intake)

    def _on_answer(self, answer: EventAnswer) -> None:
        if self._mailbox is not None:
            self._owed -= 1
            if self._owed <= 0:
                self._deadlines.wait_for_results(0.0)
            self._mailbox.answered(answer.message_id, answer.status)

    def _answer(self, association: Association, intake: Intake) -> None:
        message, self._message = self._message, None
        assert message is not None
        answer = intake.end()
        if answer is SUCCESS and isinstance(message.request, ActionRequest):
            self._owe()
        self._send(association.response(message, answer))
        if self._service.stopping.is_set():
            raise Ended(EndReason.STOPPED, "finished", encode_abort())

    def _owe(self) -> None:
        """Keep an idle association open for the result that its peer waits for on it."""
        assert self.origin is not None
        if self.origin.calling_ae_title not in self._service.requesters.elsewhere:
            self._owed += 1
            seconds = self._service.limits.storage_commitment.wait_seconds
            self._deadlines.wait_for_results(self._service.clock.monotonic() + seconds)

    def _on_release(self) -> None:
        if self._association is not None and self._association.inside_message:
            raise ProtocolViolation("A-RELEASE-RQ inside a message")
        raise Ended(EndReason.RELEASED, last_pdu=encode_release_response())

    def _send(self, data: bytes) -> None:
        """Send; meanwhile it is the peer's turn, which may read nothing of what it has asked for.

        So its place goes to a newcomer as that of any peer that is waited for.
        """
        place = self._slot.place
        if place is not None:
            place.waits(self._service.clock.monotonic(), inside_message=False)
        try:
            self._transport.send(data, self._service.limits.pdu_seconds, self._is_cut)
        except TimeoutError as error:
            raise self._not_taken() from error
        if place is not None:
            place.works()

    def _is_cut(self) -> bool:
        return self._service.cutting.is_set() or self._slot.is_lost

    def _not_taken(self) -> Ended:
        """Say why an answer is sent no further; nothing can follow half of a PDU."""
        if self._slot.is_lost:
            return Ended(EndReason.ABORTED_BY_US, EVICTED, limit="max_associations")
        if self._service.cutting.is_set():
            return Ended(EndReason.STOPPED, "cut")
        return Ended(EndReason.TIMED_OUT, "answer_not_taken", limit="pdu_seconds")

    def _end(self, ended: Ended) -> None:
        """Tell the peer first: it waits for neither the application nor the log."""
        if self._mailbox is not None and self.origin is not None:
            self._service.requesters.leave(Requester.of(self.origin), self._mailbox)
        unfinished = self._intake is not None and self._intake.discard()
        if ended.last_pdu:
            self._transport.farewell(ended.last_pdu)
        if self.origin is None or self._intake is None:
            report_connection(self._service, self._address, ended)
        else:
            tell = self._service.association_ended
            report_association(self.origin, self._intake, ended, tell, unfinished=unfinished)
            if self._span is not None:
                end_span(self._span, self._intake, ended)
        if ended.last_pdu and not self._slot.is_lost:  # who has given way keeps no thread as well
            self._service.slots.linger(self._slot)
            # After A-RELEASE-RP it is for the peer to close (PS3.8 9.2, state 13).
            self._transport.linger(peer_closes=ended.reason is EndReason.RELEASED)


def _rejected(rejection: Rejection, request: AssociateRequest, policy: Policy) -> Ended:
    called, calling = printable(request.called_ae_title), printable(request.calling_ae_title)
    detail = f"{rejection.cause}, called {called} calling {calling}"
    if rejection is CALLED_AE_NOT_RECOGNIZED:
        detail += f", but this is {policy.ae_title}"
    return Ended(EndReason.REJECTED, detail, _encode(rejection), limit=rejection.limit)


def _encode(rejection: Rejection) -> bytes:
    return encode_associate_reject(rejection.result, rejection.source, rejection.reason)


def _begin(tracing: Tracing, origin: Origin) -> Span:
    return tracing.begin(
        "association",
        association=origin.association_id,
        channel=origin.channel,
        calling_ae_title=origin.calling_ae_title,
        called_ae_title=origin.called_ae_title,
        peer=origin.peer_address,
        tls=origin.tls,
    )


def _origin(request: AssociateRequest, address: str, service: Service) -> Origin:
    user = request.user
    implementation = f"{user.implementation_class_uid} {user.implementation_version_name}"
    return Origin(
        association_id=uuid.uuid4().hex,
        channel=service.channel,
        calling_ae_title=request.calling_ae_title,
        called_ae_title=request.called_ae_title,
        peer_address=address,
        peer_implementation=printable(implementation.strip()),
        tls=service.tls is not None,
    )
