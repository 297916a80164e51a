"""A site's hook changes or drops a resource, and its failures say where and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from intu_fhir.build.transform import Message, load_transformer
from intu_fhir.errors import ConfigurationError, PermanentError
from intu_fhir.model.canonical import canonical_json
from tests.support.building import build, header, merged
from tests.support.waiting import wait_until


def _hook(folder: Path, code: str) -> Path:
    path = folder / "dicom_to_fhir.py"
    path.write_text(code, encoding="utf-8")
    return path


def _message() -> Message:
    one = header(PatientName="Geheim^Eva", StudyDescription="Thorax")
    return Message.of(build(one).resource, merged(one))


def test_hook_changes_the_payload(tmp_path: Path) -> None:
    """What the hook does to the payload is what is published."""
    path = _hook(
        tmp_path,
        "def transform(message):\n"
        "    message.payload['description'] = message.study['StudyDescription'].upper()\n"
        "    return message\n",
    )
    made = load_transformer(path)(_message())
    assert made is not None
    assert made["description"] == "THORAX"


def test_hook_may_leave_a_study_out(tmp_path: Path) -> None:
    """None leaves the study out."""
    path = _hook(tmp_path, "def transform(message):\n    return None\n")
    assert load_transformer(path)(_message()) is None


def test_hook_sees_the_staged_metadata() -> None:
    """Series and instances stand below the study, pixel data only as a reference."""
    study = _message().study
    (series,) = study["series"]
    (instance,) = series["instances"]
    assert (study["PatientID"], series["Modality"], instance["InstanceNumber"]) == (
        "P1",
        "CT",
        "1",
    )
    assert instance["file"] == f"instances/{instance['SOPInstanceUID']}.dcm"


def test_hook_gets_a_copy() -> None:
    """Nothing a hook changes reaches what was staged or built."""
    one = header(1)
    built, study = build(one).resource, merged(one)
    before = canonical_json(built)
    message = Message.of(built, study)
    message.payload["series"][0]["instance"][0]["sopClass"]["code"] = "x"
    message.study["series"][0]["Modality"] = "x"
    assert canonical_json(built) == canonical_json(build(one).resource) == before
    assert study.series[0].values["Modality"] == "CT"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("    raise ValueError('no room for ' + message.study['PatientName'])", "no room for …^…"),
        ("    return message.study['missing']", "KeyError: 'missing'"),
        ("    return None.payload", "'NoneType' object has no attribute 'payload'"),
        ("    int(message.study['PatientName'])", "'…^…'"),
        ("    raise SystemExit(message.study['PatientName'])", "SystemExit: …^…"),
    ],
)
def test_failures_name_the_line_and_no_values(tmp_path: Path, body: str, expected: str) -> None:
    """An exception becomes a permanent error with its line, and without a patient's data."""
    path = _hook(tmp_path, f"def transform(message):\n{body}\n")
    with pytest.raises(PermanentError) as caught:
        load_transformer(path)(_message())
    text = str(caught.value)
    assert text.startswith("dicom_to_fhir.py:2: ")
    assert expected in text
    assert "Geheim" not in text
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("given", ["message.payload", "True", "1", "Other()"])
def test_anything_else_is_refused(tmp_path: Path, given: str) -> None:
    """A hook gives back the message or None, nothing else."""
    path = _hook(
        tmp_path,
        f"class Other:\n    payload = 5\ndef transform(message):\n    return {given}\n",
    )
    with pytest.raises(PermanentError, match="return the message"):
        load_transformer(path)(_message())


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("hook.ts", "export", "TypeScript"),
        ("hook.js", "export", "another language"),
        ("hook.py", "def transform(:\n", "not valid Python"),
        ("hook.py", "x = 1\nimport no_such_module\n", "hook.py:2"),
        ("hook.py", "raise SystemExit(0)\n", "SystemExit"),
        ("hook.py", "def other(message): ...\n", "def transform"),
        ("hook.py", "transform = 5\n", "def transform"),
        ("hook.py", "def transform(): ...\n", "def transform"),
        ("hook.py", "def transform(message, more): ...\n", "def transform"),
    ],
)
def test_hooks_that_cannot_be_used(tmp_path: Path, name: str, code: str, expected: str) -> None:
    """A hook that cannot be used is a configuration error that names the file."""
    path = tmp_path / name
    path.write_text(code, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_transformer(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_a_hook_that_does_not_end_is_named(tmp_path: Path) -> None:
    """While a hook keeps all studies waiting, the log names its file and the study."""
    path = _hook(tmp_path, "def transform(message):\n    message.study['wait']()\n")
    message = _message()
    with capture_logs() as logged:
        message.study["wait"] = lambda: wait_until(lambda: logged)
        hook = replace(load_transformer(path), slow_seconds=0.01)
        assert hook(message) is None
    [event] = logged
    assert (event["event"], event["file"]) == ("transformer_slow", "dicom_to_fhir.py")
    assert event["study"] == message.study["StudyInstanceUID"]
