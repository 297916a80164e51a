"""Measurement reports as Observations (PS3.16 TID 1500, HL7 guide "DICOM SR to FHIR").

A measurement group becomes an Observation, its measurements and evaluations become members of it.
Geometry stays in the report: the observations lead back to the study by ``derivedFrom``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from intu_fhir.build.concepts import DCM, SCT, Concept, coding
from intu_fhir.build.content_values import (
    absent_reason,
    code_of,
    moment_of,
    name_of,
    number_of,
    quantity,
    text_of,
    words_of,
)
from intu_fhir.build.observation import (
    IMAGING,
    Facts,
    concept,
    filled,
    identifier_of,
    named_device,
    path_identity,
    uid_identity,
)
from intu_fhir.build.source import Source
from intu_fhir.build.structured_report import ContentItem, Report
from intu_fhir.model.companion import MEASUREMENTS, Companion, Identity
from intu_fhir.model.uid import is_uid
from intu_fhir.model.values import items, text

MAX_OBSERVATIONS = 1_000
"""A report with more is not converted: no half of it, and no flood."""

TEMPLATE = "1500"
TITLES = ("126000", "126001", "126002", "126003")
"""Document titles of a measurement report (PS3.16 CID 7021)."""

_MEASUREMENTS, _DERIVED, _GROUP = "126010", "126011", "125007"
_SITE, _METHOD, _LATERALITY, _SITE_MODIFIER = "363698007", "370129005", "272741003", "106233006"
_FINDING, _CATEGORY = "121071", "276214006"
_TRACKING = ("112039", "112040", "C2348792")
# Tracking Identifier, Tracking Unique Identifier, Time Point (UMLS).
_SESSION, _ALGORITHM, _ALGORITHM_VERSION = "C67447", "111001", "111003"

_UMLS = "http://www.nlm.nih.gov/research/umls"
_QUALITATIVE = "C0034375"
_GROUP_CATEGORY = {"coding": [coding(DCM, _GROUP, "Measurement Group")]}
_QUALITATIVE_CATEGORY = {"coding": [coding(_UMLS, _QUALITATIVE, "Qualitative Evaluations")]}

_CONTEXT = frozenset({*_TRACKING, _FINDING, _CATEGORY, _SITE, _METHOD, _SESSION, "130400"})
"""Concept names that say of what or how was measured; they are no results."""

_NOT_COMPONENTS = frozenset(
    {_SITE, _METHOD, _LATERALITY, _SITE_MODIFIER, _ALGORITHM, _ALGORITHM_VERSION}
)


def is_measurement_report(report: Report) -> bool:
    """Say whether a report follows TID 1500."""
    if report.template:
        return report.template == TEMPLATE
    titled = any(report.root.is_named(title) for title in TITLES)
    return titled and report.root.first(_MEASUREMENTS) is not None


def measurement_observations(
    report: Report, series_uid: str, facts: Facts, source: Source
) -> list[Companion]:
    """Return the Observations of a measurement report, members before their groups.

    Args:
        series_uid: series of the report, whose equipment made it.
    """
    made = _Writer(report, series_uid, facts, source)
    for code in (_MEASUREMENTS, _DERIVED):
        for container in report.root.all(code):
            for group in container.all(_GROUP):
                made.group(group)
    for container in _qualitative(report.root):
        made.evaluations(container)
    if len(made.observations) > MAX_OBSERVATIONS:
        source.note("report_too_large", "ContentSequence")
        return []
    if not made.observations:
        source.note("report_without_values", "ContentSequence")
    return list(made.observations.values())


def _qualitative(root: ContentItem) -> list[ContentItem]:
    """Return the containers of evaluations; UMLS is no scheme of every site's table."""
    return [
        child
        for child in root.children
        if child.value_type == "CONTAINER" and _QUALITATIVE in _codes(child)
    ]


def _codes(item: ContentItem) -> set[str]:
    """Return the codes of a concept name, as written and as translated."""
    names = items(item.values, "ConceptNameCodeSequence")
    translated = {c["code"] for c in item.name.codings} if item.name else set()
    return translated | {text(name, "CodeValue") for name in names[:1]}


@dataclass
class _Writer:
    """Makes the observations of one report, each identity once."""

    report: Report
    series_uid: str
    facts: Facts
    source: Source
    observations: dict[Identity, Companion] = field(default_factory=dict)

    def group(self, group: ContentItem) -> None:
        """Add a measurement group and its members."""
        site = self._site(group)
        members = [
            identity for item in group.children if (identity := self._member(item, site, group))
        ]
        finding = code_of(group.first(_FINDING), self.source)
        if not members and not finding:
            return
        category = code_of(group.first(_CATEGORY, SCT), self.source)
        code = category or Concept([coding(DCM, _GROUP, "Measurement Group")])
        references = [{"reference": one.urn, "type": "Observation"} for one in members]
        self._add(
            group,
            group,
            code=concept(code),
            category=[IMAGING, _GROUP_CATEGORY],
            valueCodeableConcept=concept(finding),
            bodySite=site,
            hasMember=references,
            component=[*self._tracking(group), *self._modifiers(group)],
        )

    def evaluations(self, container: ContentItem) -> None:
        """Add the evaluations that belong to no group."""
        for item in container.children:
            self._member(item, None, container)

    def _member(
        self, item: ContentItem, site: dict[str, Any] | None, group: ContentItem
    ) -> Identity | None:
        """Add one result, unless the item is context; return its identity."""
        if item.relationship not in {"CONTAINS", ""} or item.name is None:
            return None
        if _codes(item) & _CONTEXT:
            return None
        value = self._value(item)
        if not value:
            return None
        modifiers = list(self._modifiers(item))
        code = concept(item.name) or {}
        if told := [words for one in modifiers if (words := _component_words(one))]:
            code = {**code, "text": ", ".join([words_of(item.name), *told])}
        numeric = item.value_type == "NUM"
        return self._add(
            item,
            group,
            code=code,
            category=[IMAGING] if numeric else [IMAGING, _QUALITATIVE_CATEGORY],
            **value,
            bodySite=self._site(item) or site,
            component=modifiers,
        )

    def _value(self, item: ContentItem) -> dict[str, Any]:
        if item.value_type == "NUM":
            found = number_of(item, self.source)
            if found is None:
                return {"dataAbsentReason": absent_reason(item)}
            return {"valueQuantity": quantity(*found)}
        if item.value_type == "CODE":
            return filled(valueCodeableConcept=concept(code_of(item, self.source)))
        return filled(valueString=text_of(item)) if item.value_type == "TEXT" else {}

    def _add(self, item: ContentItem, group: ContentItem, **elements: Any) -> Identity | None:
        identity, identifiers = self._identity(item)
        if identity in self.observations:
            self.source.note("repeated_uid", "ObservationUID")
            return None
        method = code_of(item.first(_METHOD, SCT), self.source)
        issued = moment_of(
            text(item.values, "ObservationDateTime"),
            self.report,
            self.source,
            "ObservationDateTime",
        )
        resource = filled(
            resourceType="Observation",
            identifier=identifiers,
            status=self._status(),
            subject=self.facts.subject,
            effectiveDateTime=self.facts.started,
            issued=issued if "T" in issued else "",
            performer=self._performers(),
            method=concept(method or code_of(group.first(_METHOD, SCT), self.source)),
            device=self._device(item) or self._device(group) or self._equipment(),
            derivedFrom=[self.facts.study_reference],
            **elements,
        )
        companion = Companion(MEASUREMENTS, identity, resource, self.report.uid)
        self.observations[identity] = companion
        return identity

    def _identity(self, item: ContentItem) -> tuple[Identity, list[dict[str, Any]]]:
        """Return what an observation is found by: its Observation UID (0040,A171), else its place.

        Only a UID survives in a later version of the report.
        """
        uid = text(item.values, "ObservationUID")
        identity = uid_identity(uid) if is_uid(uid) else path_identity(self.report.uid, item.path)
        return identity, [identifier_of(identity)]

    def _status(self) -> str:
        """A report is final when it is complete and somebody stands for it, or it says so."""
        flag = text(self.report.values, "PreliminaryFlag").upper()
        stands = self.report.verified or flag == "FINAL"
        return "final" if self.report.complete and stands else "preliminary"

    def _performers(self) -> list[dict[str, Any]]:
        found = (name_of(item) for item in self.report.root.all("121008"))
        return [{"type": "Practitioner", "display": name} for name in dict.fromkeys(found) if name]

    def _device(self, holder: ContentItem) -> dict[str, Any]:
        """Return the algorithm that measured, by name and version (PS3.16 TID 4019)."""
        named = (text_of(holder.first(code)) for code in (_ALGORITHM, _ALGORITHM_VERSION))
        shown = " ".join(filter(None, named))
        return {"type": "Device", "display": shown} if shown else {}

    def _equipment(self) -> dict[str, Any]:
        return self.facts.devices.get(self.series_uid) or named_device(self.report)

    def _site(self, holder: ContentItem) -> dict[str, Any] | None:
        """Return the first finding site, its side and part of it in words."""
        item = holder.first(_SITE, SCT)
        found = code_of(item, self.source)
        if item is None or found is None:
            return None
        told = [
            words_of(code_of(item.first(code, SCT), self.source))
            for code in (_LATERALITY, _SITE_MODIFIER)
        ]
        site = found.shaped("CodeableConcept")
        told = [words for words in told if words]
        return {**site, "text": ", ".join([words_of(found), *told])} if told else site

    def _modifiers(self, item: ContentItem) -> Iterator[dict[str, Any]]:
        """Give what changes the meaning of a result, such as mean or maximum (121401)."""
        for modifier in item.related("HAS CONCEPT MOD"):
            if modifier.name is None or _codes(modifier) & _NOT_COMPONENTS:
                continue
            value = concept(code_of(modifier, self.source))
            words = text_of(modifier)
            if value or words:
                kind = {"valueCodeableConcept": value} if value else {"valueString": words}
                yield {"code": concept(modifier.name), **kind}

    def _tracking(self, group: ContentItem) -> Iterator[dict[str, Any]]:
        """Give what names the same finding in other reports, and the time point."""
        for item in group.related("HAS OBS CONTEXT"):
            value = text_of(item) or text(item.values, "UID")
            if item.name and value and _codes(item) & set(_TRACKING):
                yield {"code": concept(item.name), "valueString": value}


def _component_words(component: dict[str, Any]) -> str:
    value = component.get("valueCodeableConcept")
    if not value:
        return str(component.get("valueString", ""))
    return next((c.get("display", "") for c in value.get("coding", ())), "") or str(
        value.get("text", "")
    )
