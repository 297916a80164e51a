"""Structured reports made of nothing: content items in few words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from intu_fhir.app.reading import read_studies
from intu_fhir.build.companions import BuiltCompanions, CompanionBuilder
from intu_fhir.build.imaging_study import BuildContext, build_imaging_study
from intu_fhir.build.structured_report import DOCUMENT_ATTRIBUTES
from intu_fhir.mappings import Release, load_mapping
from intu_fhir.model.companion import DOCUMENT, KINDS
from intu_fhir.model.study import Instance
from intu_fhir.model.values import Values
from intu_fhir.stage.describe import INSTANCE, describe
from tests.support.staging import EXPLICIT_LITTLE
from tests.support.studies import data_set_bytes, make_instance

DOSE_SR = "1.2.840.10008.5.1.4.1.1.88.67"
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
CONTAINS, MODIFIES, CONTEXT = "CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT"
Code = tuple[str, str, str]
"""Code Value, Coding Scheme Designator, Code Meaning."""


def coded(code: Code) -> Sequence:
    """Return a code sequence of one item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return Sequence([item])


def item(kind: str, name: Code | None, *children: Dataset, how: str = CONTAINS) -> Dataset:
    """Return a content item."""
    made = Dataset()
    made.RelationshipType, made.ValueType = how, kind
    if name:
        made.ConceptNameCodeSequence = coded(name)
    if children:
        made.ContentSequence = Sequence(children)
    return made


def container(name: Code, *children: Dataset, how: str = CONTAINS) -> Dataset:
    """Return a CONTAINER."""
    return item("CONTAINER", name, *children, how=how)


def num(
    name: Code,
    value: str | None,
    unit: str | Code,
    *children: Dataset,
    uid: str = "",
    vr: str = "DS",
) -> Dataset:
    """Return a NUM; a value of None leaves the Measured Value Sequence empty.

    Args:
        vr: with another than DS anything can stand there.
    """
    made = item("NUM", name, *children)
    measured = Dataset()
    if value is not None:
        measured.add_new("NumericValue", vr, value)
        made_unit = (unit, "UCUM", unit) if isinstance(unit, str) else unit
        measured.MeasurementUnitsCodeSequence = coded(made_unit)
    made.MeasuredValueSequence = Sequence([measured] if value is not None else [])
    if uid:
        made.ObservationUID = uid
    return made


def code(name: Code, value: Code, *children: Dataset, how: str = CONTAINS) -> Dataset:
    """Return a CODE."""
    made = item("CODE", name, *children, how=how)
    made.ConceptCodeSequence = coded(value)
    return made


def words(name: Code, value: str, *, how: str = CONTAINS) -> Dataset:
    """Return a TEXT."""
    made = item("TEXT", name, how=how)
    made.TextValue = value
    return made


def moment(name: Code, value: str) -> Dataset:
    """Return a DATETIME."""
    made = item("DATETIME", name)
    made.DateTime = value
    return made


def person(name: Code, value: str, *, how: str = CONTEXT) -> Dataset:
    """Return a PNAME."""
    made = item("PNAME", name, how=how)
    made.PersonName = value
    return made


def make_report(
    title: Code,
    template: str,
    *children: Dataset,
    sop_class: str = COMPREHENSIVE_SR,
    number: int = 1,
    series: object = 99,
    **attributes: Any,
) -> Dataset:
    """Return a complete and verified report of the study ``study``."""
    made = make_instance(
        series=series,
        number=number,
        SOPClassUID=sop_class,
        Modality="SR",
        CompletionFlag="COMPLETE",
        VerificationFlag="VERIFIED",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=coded(title),
        ContentSequence=Sequence(children),
    )
    for keyword in ("PixelData", "Rows", "Columns", "BodyPartExamined"):
        del made[keyword]
    if template:
        used = Dataset()
        used.MappingResource, used.TemplateIdentifier = "DCMR", template
        made.ContentTemplateSequence = Sequence([used])
    for keyword, value in attributes.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    return made


def replacing(report: Dataset, earlier: Dataset) -> Dataset:
    """Let a report take the place of an earlier one (PS3.3 C.17.2.2)."""
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = earlier.SOPClassUID
    instance.ReferencedSOPInstanceUID = earlier.SOPInstanceUID
    series.SeriesInstanceUID = earlier.SeriesInstanceUID
    series.ReferencedSOPSequence = Sequence([instance])
    study.StudyInstanceUID = earlier.StudyInstanceUID
    study.ReferencedSeriesSequence = Sequence([series])
    report.PredecessorDocumentsSequence = Sequence([study])
    return report


DOSE_TITLE = ("113701", "DCM", "X-Ray Radiation Dose Report")
DLP = ("113813", "DCM", "CT Dose Length Product Total")


def ct_dose(
    *totals: Dataset, template: str = "10011", more: tuple[Dataset, ...] = (), **attributes: Any
) -> Dataset:
    """Return a CT dose report (PS3.16 TID 10011)."""
    events = num(
        ("113812", "DCM", "Total Number of Irradiation Events"), "3", ("{events}", "UCUM", "events")
    )
    return make_report(
        DOSE_TITLE,
        template,
        code(
            ("121058", "DCM", "Procedure reported"),
            ("77477000", "SCT", "Computed Tomography X-Ray"),
            how=MODIFIES,
        ),
        moment(("113809", "DCM", "Start of X-Ray Irradiation"), "20240229101700"),
        container(
            ("113811", "DCM", "CT Accumulated Dose Data"),
            events,
            *(totals or (num(DLP, "523.40", "mGy.cm"),)),
        ),
        *more,
        sop_class=DOSE_SR,
        **{"VerificationFlag": "UNVERIFIED", **attributes},
    )


VOLUME = ("118565006", "SCT", "Volume")
GROUP = ("125007", "DCM", "Measurement Group")


def group(*results: Dataset, uid: str = "", finding: bool = True) -> Dataset:
    """Return a measurement group (PS3.16 TID 1411) of a lesion in the left lung."""
    side = code(("272741003", "SCT", "Laterality"), ("7771000", "SCT", "Left"), how=MODIFIES)
    about = [
        words(("112039", "DCM", "Tracking Identifier"), "Lesion 1", how=CONTEXT),
        code(("121071", "DCM", "Finding"), ("108369006", "SCT", "Neoplasm")),
        code(("363698007", "SCT", "Finding Site"), ("39607008", "SCT", "Lung"), side, how=MODIFIES),
    ]
    made = container(GROUP, *(about if finding else about[:1]), *results)
    if uid:
        made.ObservationUID = uid
    return made


def measured(*groups: Dataset, template: str = "1500", **attributes: Any) -> Dataset:
    """Return a measurement report (PS3.16 TID 1500)."""
    inside = groups or (group(num(VOLUME, "1.20", "cm3")),)
    return make_report(
        ("126000", "DCM", "Imaging Measurement Report"),
        template,
        person(("121008", "DCM", "Person Observer Name"), "Reader^Rita"),
        container(("126010", "DCM", "Imaging Measurements"), *inside),
        **attributes,
    )


def document(dataset: Dataset) -> Values:
    """Return what is read of a report."""
    levels = dict.fromkeys(DOCUMENT_ATTRIBUTES, INSTANCE)
    return describe(data_set_bytes(dataset), EXPLICIT_LITTLE, levels).instance


def companions(
    *datasets: Dataset,
    release: Release = "r4",
    kinds: frozenset[str] = frozenset({*KINDS, DOCUMENT}),
    time_zone: str | None = "Europe/Berlin",
) -> BuiltCompanions:
    """Return what is built beside the study that data sets make."""
    by_uid = {str(one.SOPInstanceUID): one for one in datasets}

    def read(instance: Instance, _senders: Iterable[str]) -> Values:
        return document(by_uid[instance.uid])

    [study] = read_studies(datasets)
    mapping, context = load_mapping(), BuildContext(time_zone=time_zone)
    resource = build_imaging_study(study, mapping, release, context).resource
    return CompanionBuilder(read, "1.0").build(study, resource, kinds, mapping, release, context)
