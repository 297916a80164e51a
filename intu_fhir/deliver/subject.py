"""How the patient of a study is referred to at a FHIR server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from intu_fhir.deliver.answers import STUDY_SYSTEM, Json, objects, place_in_headers, place_of, words
from intu_fhir.deliver.auth import TokenRefused, TokenUnavailable
from intu_fhir.deliver.demographics import SEXES, birth_date, mismatches, name_groups
from intu_fhir.deliver.exchange import NoAnswer
from intu_fhir.deliver.outcomes import Verdict, http_rule
from intu_fhir.deliver.publication import private_values
from intu_fhir.deliver.server import FhirServer, bearing, token
from intu_fhir.model.outcome import Dead, Hold, Retry
from intu_fhir.model.values import Values, text
from intu_fhir.settings.schema import FhirDestination

PATIENT = "Patient"
NOT_FOUND = "patient_not_found"
AMBIGUOUS = "patient_ambiguous"
MISMATCH = "patient_mismatch"
_MERGES = 5
_NAMED = 5
"""So many of several patients are named."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_DAMAGED = re.compile("[\N{REPLACEMENT CHARACTER}\ud800-\udfff]")

Linked: TypeAlias = Json | Retry | Dead | Hold
Guard: TypeAlias = AbstractContextManager[object]


def link_subject(
    resource: Json,
    patient: Values,
    destination: FhirDestination,
    server: FhirServer,
    guard: Guard,
) -> Linked:
    """Return the resource with its subject as the destination's strategy wants it.

    Args:
        resource: as built, its subject a reference by identifier.
        patient: what the study's headers say of the patient, by DICOM keyword.
        guard: held while a patient is made, so that two studies at once do not each make one.

    Returns:
        The resource, or why it cannot be sent: a Hold where a person has to look.
    """
    link = _STRATEGIES[destination.subject.strategy]
    try:
        return link(resource, patient, server, guard)
    except (NoAnswer, TokenUnavailable) as error:
        return Retry(detail=f"The patient cannot be looked up: {error}", silent=True)
    except TokenRefused as error:
        return Dead("401", str(error))


def _logical(resource: Json, patient: Values, server: FhirServer, guard: Guard) -> Linked:
    return resource


def _conditional(resource: Json, patient: Values, server: FhirServer, guard: Guard) -> Linked:
    identifier = _identifier(resource)
    if identifier is None:
        return _unidentified(resource)
    return _with_reference(resource, f"Patient?identifier={token(*identifier)}")


def _search(resource: Json, patient: Values, server: FhirServer, guard: Guard) -> Linked:
    identifier = _identifier(resource)
    if identifier is None:
        return _unidentified(resource)
    found = _find(identifier, server, private_values(resource))
    if not isinstance(found, list):
        return found
    if not found:
        return Hold(
            NOT_FOUND,
            "The server has no patient with this identifier; enter the patient there and release "
            f"the study, or correct identifiers.patient, restart, then {_rebuild(resource)}",
        )
    return _linked(resource, patient, found)


def _create(resource: Json, patient: Values, server: FhirServer, guard: Guard) -> Linked:
    """Link the patient that is there, else create a thin one."""
    identifier = _identifier(resource)
    if identifier is None:
        return _unidentified(resource)
    found = _find(identifier, server, private_values(resource))
    if found == []:
        with guard:
            # Another study of the patient may have made one while this one waited.
            found = _find(identifier, server, private_values(resource))
            if found == []:
                return _made(resource, identifier, patient, server)
    return _linked(resource, patient, found) if isinstance(found, list) else found


def _made(
    resource: Json, identifier: tuple[str, str], patient: Values, server: FhirServer
) -> Linked:
    """Create the patient, and refer to it."""
    answer = server.call(
        "POST",
        PATIENT,
        resource=new_patient(identifier, patient),
        headers={"If-None-Exist": f"identifier={token(*identifier)}", "Prefer": "return=minimal"},
    )
    if answer.status == 412:
        return _ambiguous()
    if http_rule(answer.status).verdict is not Verdict.DELIVERED:
        return server.failed(answer, private_values(resource))
    shown = answer.resource(PATIENT)
    created = place_in_headers(answer, PATIENT) or (place_of(shown) if shown else None)
    if created is None:
        return Retry(str(answer.status), "The server does not say where the new patient is")
    return _with_reference(resource, f"{PATIENT}/{created.id}")


_STRATEGIES: Mapping[str, Callable[[Json, Values, FhirServer, Guard], Linked]] = {
    "search": _search,
    "logical": _logical,
    "create": _create,
    "conditional": _conditional,
}


def _find(
    identifier: tuple[str, str], server: FhirServer, private: tuple[str, ...]
) -> list[Json] | Retry | Dead:
    """Return the patients with this identifier, merged ones replaced by who took their place."""
    answer = server.search_patient(*identifier)
    if not answer.ok or not answer.is_fhir:
        return server.failed(answer, private)
    found = bearing(answer, PATIENT, *identifier)
    if found is None:
        return Dead(
            str(answer.status),
            "The server does not search Patient by identifier; choose another subject.strategy, "
            "restart, then replay",
        )
    survivors: dict[str, Json] = {}
    for patient in found:
        survivor = _survivor(patient, server, private)
        if not isinstance(survivor, dict):
            return survivor
        survivors[words(survivor.get("id"))] = survivor
    return list(survivors.values())


def _survivor(patient: Json, server: FhirServer, private: tuple[str, ...]) -> Json | Retry | Dead:
    """Follow ``link`` of type replaced-by (FHIR Patient.link)."""
    for _ in range(_MERGES):
        following = _replaced_by(patient)
        if not following:
            return patient
        answer = server.read(PATIENT, following)
        found = answer.resource(PATIENT)
        if found is None:
            return server.failed(answer, private)
        patient = found
    return Dead(detail="The patient was merged too often to follow; look at it at the server")


def _replaced_by(patient: Json) -> str:
    for link in objects(patient.get("link")):
        other = link.get("other")
        if link.get("type") == "replaced-by" and isinstance(other, dict):
            kind, _, identity = words(other.get("reference")).rpartition("/")
            if kind == PATIENT and (place := place_of({"id": identity})):
                return place.id
    return ""


def _linked(resource: Json, values: Values, found: list[Json]) -> Linked:
    """Link the one patient that was found, where nothing contradicts."""
    if len(found) > 1:
        return _ambiguous(found)
    place = place_of(found[0])
    if place is None:
        return Retry(detail="The server shows a patient without a usable id")
    if different := mismatches(values, found[0]):
        return Hold(
            MISMATCH,
            f"{PATIENT}/{place.id}, which has this identifier, differs in {', '.join(different)}; "
            "correct the patient or the images, then release the study",
        )
    return _with_reference(resource, f"{PATIENT}/{place.id}")


def _identifier(resource: Json) -> tuple[str, str] | None:
    """Return system and value of the subject, as built."""
    subject = resource.get("subject")
    identifier = subject.get("identifier") if isinstance(subject, dict) else None
    if not isinstance(identifier, dict):
        return None
    system, value = words(identifier.get("system")), words(identifier.get("value"))
    return (system, value) if system and value else None


def _with_reference(resource: Json, reference: str) -> Json:
    subject = resource.get("subject")
    kept = subject if isinstance(subject, dict) else {}
    return {**resource, "subject": {**kept, "reference": reference, "type": PATIENT}}


def _unidentified(resource: Json) -> Hold:
    return Hold(
        NOT_FOUND,
        "The study names no patient with an identifier system; configure identifiers.patient and "
        f"restart, or correct the images, then {_rebuild(resource)}",
    )


def _rebuild(resource: Json) -> str:
    """Return the command that builds a study again."""
    found = objects(resource.get("identifier"))
    uids = [words(one.get("value")) for one in found if one.get("system") == STUDY_SYSTEM]
    return f"`intu-fhir replay --rebuild --study {''.join(uids[:1]).removeprefix('urn:oid:')}`"


def _ambiguous(found: Sequence[Json] = ()) -> Hold:
    places = [place.id for one in found[:_NAMED] if (place := place_of(one))]
    named = f" ({', '.join(f'{PATIENT}/{place}' for place in sorted(places))})" if places else ""
    return Hold(
        AMBIGUOUS,
        f"Several patients at the server have this identifier{named}; merge them there, then "
        "release the study",
    )


def new_patient(identifier: tuple[str, str], values: Values) -> Json:
    """Return a thin Patient: what images know of a person, and nothing guessed."""
    system, value = identifier
    patient: Json = {"resourceType": PATIENT, "identifier": [{"system": system, "value": value}]}
    if names := [name for group in name_groups(values) if (name := _human_name(group))]:
        patient["name"] = names[:1]
    if sex := SEXES.get(text(values, "PatientSex").upper()):
        patient["gender"] = sex
    if born := birth_date(values):
        patient["birthDate"] = born
    return patient


def _human_name(group: list[str]) -> dict[str, Any]:
    """Return one component group as a HumanName (PS3.5 6.2.1: family, given, middle).

    A group that could not be decoded gives none, and control characters are left out.
    """
    if any(_DAMAGED.search(part) for part in group):
        return {}
    family, *rest = (_CONTROL.sub("", part) for part in group)
    given = [word for part in rest[:2] for word in part.split()]
    parts: dict[str, Any] = {"family": family, "given": given}
    return {key: value for key, value in parts.items() if value}
