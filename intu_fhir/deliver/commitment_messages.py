"""Command sets of storage commitment as SCU, without sockets (PS3.7 10.3, PS3.4 annex J)."""

from __future__ import annotations

from dataclasses import dataclass

from intu_fhir.deliver.upper_layer import (
    Element,
    Field,
    encode_command,
    number_element,
    read_elements,
    read_number,
    read_uid,
    uid_element,
)

_NO_DATA_SET, _DATA_SET = 0x0101, 0x0000


def encode_action_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, action_type_id: int
) -> bytes:
    """Return the command set of an N-ACTION-RQ with a data set (PS3.7 10.3.4.1)."""
    return encode_command(
        uid_element(Element.REQUESTED_SOP_CLASS_UID, sop_class_uid),
        number_element(Element.COMMAND_FIELD, Field.N_ACTION_RQ),
        number_element(Element.MESSAGE_ID, message_id),
        number_element(Element.COMMAND_DATA_SET_TYPE, _DATA_SET),
        uid_element(Element.REQUESTED_SOP_INSTANCE_UID, sop_instance_uid),
        number_element(Element.ACTION_TYPE_ID, action_type_id),
    )


def encode_event_answer(message_id: int, status: int) -> bytes:
    """Return the command set of an N-EVENT-REPORT-RSP without a data set (PS3.7 10.3.1.2)."""
    return encode_command(
        number_element(Element.COMMAND_FIELD, Field.N_EVENT_REPORT_RSP),
        number_element(Element.MESSAGE_ID_BEING_RESPONDED_TO, message_id),
        number_element(Element.COMMAND_DATA_SET_TYPE, _NO_DATA_SET),
        number_element(Element.STATUS, status),
    )


@dataclass(frozen=True, slots=True)
class EventReport:
    """An N-EVENT-REPORT-RQ of the peer; a UID that it left out is empty."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    event_type_id: int
    has_data_set: bool


def parse_event_report(command: bytes) -> EventReport | None:
    """Read the command set of an N-EVENT-REPORT-RQ; None where it is another message.

    Raises:
        BadAnswer: it cannot be read.
    """
    elements = read_elements(command)
    if read_number(elements, Element.COMMAND_FIELD) != Field.N_EVENT_REPORT_RQ:
        return None
    return EventReport(
        message_id=read_number(elements, Element.MESSAGE_ID),
        sop_class_uid=read_uid(elements, Element.AFFECTED_SOP_CLASS_UID),
        sop_instance_uid=read_uid(elements, Element.AFFECTED_SOP_INSTANCE_UID),
        event_type_id=read_number(elements, Element.EVENT_TYPE_ID),
        has_data_set=read_number(elements, Element.COMMAND_DATA_SET_TYPE) != _NO_DATA_SET,
    )
