"""Runs the examples of a mapping file: a header in, elements out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from intu_fhir.build.imaging_study import build_imaging_study
from intu_fhir.build.source import BuildContext
from intu_fhir.build.validate import validate_resource
from intu_fhir.errors import ConfigurationError
from intu_fhir.mappings.elements import Release
from intu_fhir.mappings.load import Example, Mapping
from intu_fhir.model.finding import errors
from intu_fhir.model.study import HeaderGroup, Instance, Series, Study
from intu_fhir.model.values import Values
from intu_fhir.settings.mistakes import raise_mistakes

_STEP = re.compile(r"([A-Za-z]+)|\[(\d+)\]")
_CT = "1.2.840.10008.5.1.4.1.1.2"
_UIDS = {
    "StudyInstanceUID": "2.25.1",
    "SeriesInstanceUID": "2.25.2",
    "SOPInstanceUID": "2.25.3",
    "SOPClassUID": _CT,
}


def run_examples(mapping: Mapping, context: BuildContext | None = None) -> None:
    """Build every example of a mapping and compare.

    Args:
        context: by default a site without zone and identifier systems.

    Raises:
        ConfigurationError: an example does not come out as it says; each one is told.
    """
    context = context or BuildContext()
    raise_mistakes(
        [
            _mistake(mapping, example, f"{release}: {difference}")
            for example in mapping.tests
            for release in example.releases
            for difference in _differences(example, mapping, release, context)
        ]
    )


def _mistake(mapping: Mapping, example: Example, difference: str) -> ConfigurationError:
    name = f"{example.name}: " if example.name else ""
    return ConfigurationError(
        f"{name}{difference}",
        file=str(mapping.file) if mapping.file else None,
        line=example.line,
        key=f"tests[{example.at}]",
    )


def _differences(
    example: Example, mapping: Mapping, release: Release, context: BuildContext
) -> Iterator[str]:
    made = build_imaging_study(_study(example), mapping, release, context).resource
    for path, expected in example.expect.items():
        found = element_at(made, str(path))
        if found != expected:
            yield f"{path} is {_shown(found)}, not {_shown(expected)}; correct the rule or the test"
    for finding in errors(validate_resource(made, release)):
        yield f"the resource is not valid: {finding.message}"


def _study(example: Example) -> Study:
    """Return a study of one instance whose header says what the example does."""
    values: Values = {"Modality": "CT", "PatientID": "1", **example.header}
    uids = {keyword: str(values.get(keyword, uid)) for keyword, uid in _UIDS.items()}
    instance = Instance(uids["SOPInstanceUID"], uids["SOPClassUID"], values=values)
    group = HeaderGroup(values, 1, (0, 0, instance.uid))
    series = Series(uids["SeriesInstanceUID"], values, (instance,), (group,))
    return Study(uids["StudyInstanceUID"], values, (series,))


def element_at(resource: Any, path: str) -> Any:
    """Return the value at a path such as ``series[0].bodySite.code``, or None."""
    found = resource
    for name, index in _STEP.findall(path):
        if name:
            found = found.get(name) if isinstance(found, dict) else None
        else:
            at = int(index)
            found = found[at] if isinstance(found, list) and at < len(found) else None
    return found


def _shown(value: Any) -> str:
    return "absent" if value is None else orjson.dumps(value).decode()[:200]
