"""Mapping files do what they say, and every mistake names file, line, key and remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from intu_fhir.errors import ConfigurationError
from intu_fhir.mappings import attributes_of, load_mapping
from intu_fhir.mappings.elements import ELEMENTS, RELEASES
from tests.support.building import build, header, resource

EXTENDS = "extends: shipped\n"


def _file(folder: Path, text: str) -> Path:
    path = folder / "imaging_study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _built(folder: Path, text: str, **values: Any) -> dict[str, Any]:
    return build(header(**values), mapping=load_mapping(_file(folder, EXTENDS + text))).resource


def test_shipped_mapping_fills_every_element_that_headers_fill() -> None:
    """The shipped mapping leaves out only what no header can say."""
    shipped = load_mapping().rules
    left_out = {
        level: sorted(set(elements) - set(shipped[level])) for level, elements in ELEMENTS.items()
    }
    assert left_out == {
        "study": [
            "extension",
            "language",
            "meta",
            "note",
            "partOf",
            "procedureReference",
            "reasonReference",
        ],
        "series": ["endpoint", "extension"],
        "instance": ["extension"],
    }


def test_shipped_mapping_is_loaded_once() -> None:
    """The shipped mapping is one object, so that what is compiled of it is kept."""
    assert load_mapping() is load_mapping(None)


def test_leave_out(tmp_path: Path) -> None:
    """An element that is left out does not occur, all others stay."""
    made = _built(tmp_path, "study:\n  description: leave_out\n", StudyDescription="x")
    assert "description" not in made
    assert made["status"] == "available"


def test_other_attribute(tmp_path: Path) -> None:
    """An element can be filled from another attribute, the first that has a value."""
    text = "study:\n  description: {converter: text, from: [StudyComments, StudyDescription]}\n"
    assert _built(tmp_path, text, StudyDescription="b")["description"] == "b"
    assert _built(tmp_path, text, StudyComments="a", StudyDescription="b")["description"] == "a"


def test_fixed_value(tmp_path: Path) -> None:
    """An element can have the same value in every study."""
    text = "study:\n  meta: {converter: fixed, value: {tag: [{system: 'urn:x', code: y}]}}\n"
    assert _built(tmp_path, text)["meta"] == {"tag": [{"system": "urn:x", "code": "y"}]}


@pytest.mark.parametrize("level", ["study", "series"])
def test_private_attribute_as_extension(tmp_path: Path, level: str) -> None:
    """A private attribute that the file wants staged can become an extension."""
    key = "0019xx1a:MAKER 1.0"
    text = (
        f'attributes:\n  {level}:\n    - "0019XX1A:MAKER 1.0"\n'
        f"{level}:\n  extension:\n    - converter: extension\n"
        f"      url: https://example.org/x\n      from: '{key.upper()}'\n      as: unsignedInt\n"
    )
    mapping = load_mapping(_file(tmp_path, EXTENDS + text))
    assert attributes_of([mapping]).levels[key] == level
    made = build(header(**{key: "7"}), mapping=mapping).resource
    holder = made if level == "study" else made["series"][0]
    assert holder["extension"] == [{"url": "https://example.org/x", "valueUnsignedInt": 7}]


def test_attribute_of_another_level(tmp_path: Path) -> None:
    """A series or an instance can be filled from what stands with its study."""
    text = (
        "series:\n  description: {converter: text, from: StudyDescription}\n"
        "instance:\n  title: {converter: text, from: SeriesDescription}\n"
        "study:\n  description: {converter: text, from: ProtocolName}\n"
    )
    made = _built(tmp_path, text, StudyDescription="a", SeriesDescription="b", ProtocolName="c")
    assert made["description"] == "c"
    assert made["series"][0]["description"] == "a"
    assert made["series"][0]["instance"][0]["title"] == "b"


def test_extension_of_an_instance(tmp_path: Path) -> None:
    """An extension holds a number or a fixed value."""
    text = (
        "instance:\n  extension:\n"
        "    - {converter: extension, url: 'https://e.org/f', from: NumberOfFrames,"
        " as: positiveInt}\n"
        "    - {converter: extension, url: 'https://e.org/g', value: yes}\n"
    )
    (instance,) = _built(tmp_path, text, NumberOfFrames="7")["series"][0]["instance"]
    assert instance["extension"] == [
        {"url": "https://e.org/f", "valuePositiveInt": 7},
        {"url": "https://e.org/g", "valueString": "yes"},
    ]


def test_own_code_table(tmp_path: Path) -> None:
    """A value can be looked up in a table of the site's own."""
    (tmp_path / "rooms.csv").write_text(
        "value,system,code,display\nCT1,urn:x,R1,Room one\nCT  2,urn:x,R2,\n", encoding="utf-8"
    )
    text = (
        "attributes:\n  series: [StationName]\n"
        "study:\n  procedureCode: {converter: table, from: StudyDescription, table: rooms.csv}\n"
    )
    known = _built(tmp_path, text, StudyDescription="ct1")["procedureCode"]
    assert known == [{"coding": [{"system": "urn:x", "code": "R1", "display": "Room one"}]}]
    spaced = _built(tmp_path, text, StudyDescription="ct  2")["procedureCode"]
    assert spaced == [{"coding": [{"system": "urn:x", "code": "R2"}]}]
    unknown = _built(tmp_path, text, StudyDescription="other")["procedureCode"]
    assert unknown == [{"text": "other"}]


def test_a_reference_by_identifier_has_the_system_of_its_rule(tmp_path: Path) -> None:
    """A person whom the site knows by a number is referred to by it, with the site's system."""
    text = (
        "attributes: {study: ['0011xx10:MAKER 1.0']}\nstudy:\n  referrer:\n"
        "    converter: reference\n    resource: Practitioner\n    by: identifier\n"
        "    from: '0011xx10:MAKER 1.0'\n    system: urn:oid:1.2.276.0.76.4.16\n    type: LANR\n"
    )
    made = _built(tmp_path, text, **{"0011xx10:MAKER 1.0": "123456789"})
    assert made["referrer"]["identifier"]["system"] == "urn:oid:1.2.276.0.76.4.16"
    assert made["referrer"]["identifier"]["value"] == "123456789"


def test_own_rows_of_a_shipped_table(tmp_path: Path) -> None:
    """Rows of a site's own table stand over those that are shipped."""
    (tmp_path / "own.csv").write_text(
        "term,code,display,set\nECHO,US,Ultrasound,acquisition\n", encoding="utf-8"
    )
    text = "tables: {modalities: own.csv}\n"
    made = _built(tmp_path, text, Modality="ECHO")
    assert made["modality"][0]["code"] == "US"
    assert _built(tmp_path, text, Modality="CT")["modality"][0]["code"] == "CT"


def test_rules_of_one_release(tmp_path: Path) -> None:
    """A rule can be for one release alone."""
    text = "study:\n  description: {converter: text, from: StudyDescription, release: r5}\n"
    mapping = load_mapping(_file(tmp_path, EXTENDS + text))
    one = header(StudyDescription="x")
    assert [
        build(one, release=r, mapping=mapping).resource.get("description") for r in RELEASES
    ] == [
        None,
        "x",
    ]


def test_a_complete_file_needs_nothing_shipped(tmp_path: Path) -> None:
    """A file without `extends` holds exactly what it says."""
    text = (
        "study:\n"
        "  identifier: {converter: study_uid}\n"
        "  status: {converter: fixed, value: registered}\n"
        "  subject: {converter: patient, show_name: false}\n"
        "series:\n  uid: {converter: uid}\n  modality: {converter: modality}\n"
        "instance:\n  uid: {converter: uid}\n  sopClass: {converter: sop_class}\n"
    )
    made = resource(header(), mapping=load_mapping(_file(tmp_path, text)))
    assert set(made) == {"resourceType", "identifier", "status", "subject", "series"}


def test_version_names_the_content(tmp_path: Path) -> None:
    """The version changes with the content and with nothing else."""
    first = load_mapping(_file(tmp_path, EXTENDS + "version: mine\n")).version
    again = load_mapping(_file(tmp_path, EXTENDS + "# a remark\nversion: mine\n")).version
    other = load_mapping(_file(tmp_path, EXTENDS + "version: mine\nstudy: {endpoint: leave_out}\n"))
    assert first == again != other.version
    assert first.startswith("mine+")
    assert len(first) <= 64


def test_version_counts_tables(tmp_path: Path) -> None:
    """A changed row of a table is another version."""
    text = "study:\n  procedureCode: {converter: table, from: StudyDescription, table: t.csv}\n"
    versions = []
    for code in ("A", "B"):
        (tmp_path / "t.csv").write_text(
            f"value,system,code,display\nX,urn:x,{code},\n", encoding="utf-8"
        )
        versions.append(load_mapping(_file(tmp_path, EXTENDS + text)).version)
    assert versions[0] != versions[1]


MISTAKES = [
    ("study:\n  descripton: leave_out\n", 3, "study.descripton", "did you mean description"),
    ("stdy: {}\n", 2, "stdy", "did you mean study"),
    ("study:\n  status: leave_out\n", 3, "study.status", "needs this element"),
    ("series:\n  uid: leave_out\n", 3, "series.uid", "needs this element"),
    ("study:\n  description: maybe\n", 3, "study.description", "leave_out"),
    (
        "study:\n  description: {converter: txt, from: StudyDescription}\n",
        3,
        "study.description.converter",
        "must be one of fixed, text",
    ),
    (
        "study:\n  description: {converter: number, from: StudyID}\n",
        3,
        "study.description.converter",
        "must be one of fixed, text",
    ),
    (
        "study:\n  description:\n    converter: text\n    frm: StudyDescription\n",
        5,
        "study.description.frm",
        "did you mean from",
    ),
    ("study:\n  description:\n    converter: text\n", 3, "study.description.from", "missing"),
    (
        "study:\n  description: {converter: text, from: StudyDescripton}\n",
        3,
        "study.description",
        "not a DICOM keyword",
    ),
    (
        "study:\n  description: {converter: text, from: Rows}\n",
        3,
        "study.description",
        "under `attributes:`",
    ),
    (
        "study:\n  description:\n    - converter: text\n      from: StudyDescription\n"
        "      release: r3\n",
        6,
        "study.description[0].release",
        "'r4' or 'r5'",
    ),
    (
        "study:\n  description: {converter: text, from: StudyID, sop_classes: ['1.2']}\n",
        3,
        "study.description.sop_classes",
        "only instances",
    ),
    (
        "study:\n  description: {converter: text, from: InstanceNumber}\n",
        3,
        "study.description",
        "differs between instances",
    ),
    (
        "study:\n  description: {converter: text, from: RequestAttributesSequence.ScheduledStp}\n",
        3,
        "study.description",
        "'ScheduledStp' is not a DICOM keyword",
    ),
    (
        "study:\n  identifier:\n    - {converter: study_uid}\n"
        "    - {converter: identifier, from: AccessionNumber, system: acession}\n",
        5,
        "study.identifier[1].system",
        "must be accession, patient or a URI",
    ),
    (
        "study:\n  location: {converter: reference, resource: Locaton, from: StudyID}\n",
        3,
        "study.location.resource",
        "must be one of Location",
    ),
    (
        "series:\n  extension: {converter: extension, url: 'urn:x'}\n",
        3,
        "series.extension",
        "has no value",
    ),
    (
        "tests: [{header: {StudyDescripton: x}, expect: {}}]\n",
        2,
        "tests[0].header.StudyDescripton",
        "not a DICOM keyword",
    ),
    ("attributes: {study: [Nonsense]}\n", 2, "attributes.study[0]", "not a DICOM keyword"),
    ("attributes: {stdy: [PatientID]}\n", 2, "attributes.stdy", "patient, study, series"),
    ("attributes: 5\n", 2, "attributes", "by level"),
    ("tables: {modality: x.csv}\n", 2, "tables.modality", "did you mean modalities"),
    ("tables: {modalities: 5}\n", 2, "tables.modalities", "path of a CSV"),
    ("study: 5\n", 2, "study", "must hold elements"),
    ("tests: 5\n", 2, "tests", "list of examples"),
    ("tests: [{name: x}]\n", 2, "tests[0]", "needs `header:`"),
    (
        "series:\n  extension: {converter: extension, url: nonsense, value: 1}\n",
        3,
        "series.extension.url",
        "must be an absolute URL",
    ),
]


@pytest.mark.parametrize(("text", "line", "key", "words"), MISTAKES)
def test_mistakes(tmp_path: Path, text: str, line: int, key: str, words: str) -> None:
    """A mistake names its file, line and key, and what is allowed."""
    path = _file(tmp_path, EXTENDS + text)
    with pytest.raises(ConfigurationError) as caught:
        load_mapping(path)
    message = str(caught.value)
    assert f"{path}:{line}: {key}: " in message
    assert words in message


def test_every_mistake_is_told(tmp_path: Path) -> None:
    """All mistakes of a file are told at once."""
    path = _file(tmp_path, EXTENDS + "study:\n  a: leave_out\n  b: leave_out\n")
    with pytest.raises(ConfigurationError) as caught:
        load_mapping(path)
    assert str(caught.value).count(str(path)) == 2


def test_a_table_of_two_rules_is_told_once(tmp_path: Path) -> None:
    """A mistake in a table that fills an element of R4 and one of R5 is told once."""
    (tmp_path / "own.csv").write_text("value,system,code,display\nA,urn:x,,\n")
    rule = "{converter: table, from: StudyDescription, table: own.csv}"
    text = f"{EXTENDS}study:\n  procedureCode: {rule}\n  procedure: {rule}\n"
    with pytest.raises(ConfigurationError) as caught:
        load_mapping(_file(tmp_path, text))
    assert str(caught.value).count("A has no code") == 1


@pytest.mark.parametrize("text", ["", "study: {}\n", "extends: nothing\n"])
def test_incomplete_files(tmp_path: Path, text: str) -> None:
    """A file that extends nothing must say all that a resource needs."""
    with pytest.raises(ConfigurationError, match=r"extends|shipped"):
        load_mapping(_file(tmp_path, text))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("term,code\nA,B\n", "first line must be term,code,display,set"),
        ("term,code,display,set\nA,B\n", "has 2 values; write 4"),
        ("term,code,display,set\nA,A,a,acquisition\nA,A,a,other\n", "stands here twice"),
        ("term,code,display,set\n,A,a,other\n", "has no term"),
        ("term,code,display,set\nA,A,a,odd\n", "set must be one of acquisition, other, retired"),
    ],
)
def test_mistakes_in_tables(tmp_path: Path, rows: str, words: str) -> None:
    """A mistake in a table names its file and what is wrong."""
    (tmp_path / "own.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_mapping(_file(tmp_path, EXTENDS + "tables: {modalities: own.csv}\n"))
    assert "own.csv" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("BRAIN,,MR-01,MR\n", "own.csv:2: BRAIN has no system"),
        ("BRAIN,urn:x,,MR\n", "own.csv:2: BRAIN has no code"),
        ("BRAIN,RADLEX,RPID1,MR\n", "own.csv:2: system of BRAIN must be a URI"),
        ("BRAIN,urn:x,1,\nBrain,urn:x,2,\n", "own.csv:3: BRAIN stands here twice"),
    ],
)
def test_a_row_that_makes_no_valid_code(tmp_path: Path, rows: str, words: str) -> None:
    """A row of a code table without system or code is told by its line, before a study meets it."""
    (tmp_path / "own.csv").write_text(f"value,system,code,display\n{rows}", encoding="utf-8")
    rule = "{converter: table, from: StudyDescription, table: own.csv}"
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        load_mapping(_file(tmp_path, f"{EXTENDS}study:\n  procedureCode: {rule}\n"))


@pytest.mark.parametrize(
    ("table", "rows", "words"),
    [
        ("coding_schemes", "designator,uri,translate\n99X,,\n", "99X has no uri"),
        ("coding_schemes", "designator,uri,translate\n99X,ours,\n", "uri of 99X must be a URI"),
        ("modalities", "term,code,display,set\nQ,,q,other\n", "Q has no code"),
        (
            "body_site_spellings",
            "spelling,term,laterality\nKOPF,HEED,\n",
            "KOPF: HEED is no term of body_sites.csv",
        ),
    ],
)
def test_a_row_that_says_nothing(tmp_path: Path, table: str, rows: str, words: str) -> None:
    """A row over a shipped table that could not be used is told, with its file."""
    (tmp_path / "own.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"own\.csv.*{re.escape(words)}"):
        load_mapping(_file(tmp_path, EXTENDS + f"tables: {{{table}: own.csv}}\n"))


def test_spellings_are_met_however_they_are_written(tmp_path: Path) -> None:
    """Terms and spellings of a site's own tables may be written in small letters."""
    (tmp_path / "spellings.csv").write_text("spelling,term,laterality\nKopf,head,\n")
    (tmp_path / "modalities.csv").write_text("term,code,display,set\nqx,QX,Ours,acquisition\n")
    tables = "tables: {body_site_spellings: spellings.csv, modalities: modalities.csv}\n"
    [series] = _built(tmp_path, tables, BodyPartExamined="KOPF", Modality="QX")["series"]
    assert (series["bodySite"]["code"], series["modality"]["code"]) == ("69536005", "QX")


def test_missing_table(tmp_path: Path) -> None:
    """A table that is not there is a mistake that names it."""
    with pytest.raises(ConfigurationError, match=r"none\.csv.*cannot be read"):
        load_mapping(_file(tmp_path, EXTENDS + "tables: {modalities: none.csv}\n"))
