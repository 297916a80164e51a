"""The JSON Schema of mapping files, which editors judge by while somebody types."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

MAPPINGS = Path(__file__).parents[3] / "mappings"
SCHEMA: dict[str, Any] = json.loads((MAPPINGS / "imaging_study.schema.json").read_text("utf-8"))


@pytest.fixture
def shipped() -> dict[str, Any]:
    """The shipped mapping as it stands in its file."""
    loaded: dict[str, Any] = yaml.safe_load((MAPPINGS / "imaging_study.yaml").read_text("utf-8"))
    return copy.deepcopy(loaded)


def _mistakes(mapping: dict[str, Any]) -> list[str]:
    validator = Draft202012Validator(SCHEMA)
    return [error.message for error in validator.iter_errors(mapping)]


def test_the_shipped_mapping_follows_the_schema(shipped: dict[str, Any]) -> None:
    """The schema is one, and takes the mapping that comes with the program."""
    Draft202012Validator.check_schema(SCHEMA)
    assert _mistakes(shipped) == []


def test_a_mistake_does_not_follow_it(shipped: dict[str, Any]) -> None:
    """An unknown element, an unknown converter and an unknown section are mistakes."""
    changes: list[dict[str, Any]] = [
        {"study": {"descripton": "leave_out"}},
        {"study": {"description": {"converter": "txet", "from": ["StudyDescription"]}}},
        {"studdy": {}},
    ]
    for change in changes:
        assert _mistakes({**shipped, **change}), change
