"""Routes in the configuration: circles, names that lead nowhere, expressions that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.load import load_configuration
from intu_fhir.settings.mistakes import each_mistake

EHR = "  {name}: {{type: fhir, base_url: 'http://x/fhir', {more}}}\n"
CHANNEL = "id: c\nsource: {type: dicom, port: 4104}\ndestinations: [%s]\n"


def _mistakes(folder: Path, destinations: dict[str, str], channel: str = "") -> list[str]:
    site = "destinations:\n" + "".join(
        EHR.format(name=name, more=more) for name, more in destinations.items()
    )
    (folder / "intu.yaml").write_text(site)
    (folder / "channels/c").mkdir(parents=True)
    (folder / "channels/c/channel.yaml").write_text(CHANNEL % channel)
    try:
        load_configuration(folder, {})
    except ConfigurationError as error:
        return [str(one).replace(f"{folder}/", "") for one in each_mistake(error)]
    return []


@pytest.mark.parametrize(
    ("after", "way"),
    [
        ({"a": "[a]"}, "a after a"),
        ({"a": "[b]", "b": "[a]"}, "a after b after a"),
        ({"x": "[]", "a": "[x, b]", "b": "[c]", "c": "[a]"}, "a after b after c after a"),
        ({"d": "[a]", "a": "[b]", "b": "[a]"}, "a after b after a"),
    ],
)
def test_a_circle_is_told_once_with_its_line(
    tmp_path: Path, after: dict[str, str], way: str
) -> None:
    """Destinations that wait for each other are one mistake at the first of them."""
    [mistake] = _mistakes(tmp_path, {name: f"after: {names}" for name, names in after.items()})
    line = list(after).index("a") + 2
    assert mistake.startswith(f"intu.yaml:{line}: destinations.a.after: goes in a circle: {way};")


def test_a_chain_is_no_circle(tmp_path: Path) -> None:
    """Several may come after one, and one after several."""
    chain = {"a": "", "b": "after: [a]", "c": "after: [a, b]", "d": "after: [b]"}
    assert _mistakes(tmp_path, chain, "a, b, c, d") == []


def test_after_nobody(tmp_path: Path) -> None:
    """The name in ``after`` must be a destination."""
    [mistake] = _mistakes(tmp_path, {"a": "after: [pacs]"})
    assert mistake == (
        "intu.yaml:2: destinations.a.after[0]: pacs is not a destination; use one of: a"
    )


def test_after_one_that_the_channel_leaves_out(tmp_path: Path) -> None:
    """A channel that sends to the second but not to the first would wait for ever."""
    [mistake] = _mistakes(tmp_path, {"a": "", "b": "after: [a]"}, "b")
    assert mistake.startswith("channels/c/channel.yaml:3: destinations[0]: b comes after a, which")


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ("where: 'Modality = '", "a value; put quotes around one with blanks expected"),
        ("where: 'Modalty = CT'", "Modalty is not a DICOM keyword"),
        ("modalities: []", ""),
        ("channels: [nowhere]", "nowhere is not the id of a channel; use one of: c"),
    ],
)
def test_what_only_cannot_say(tmp_path: Path, only: str, words: str) -> None:
    """A mistake in ``only`` names its line and its key."""
    [mistake] = _mistakes(tmp_path, {"a": f"only: {{{only}}}"})
    key = only.partition(":")[0]
    assert mistake.startswith(f"intu.yaml:2: destinations.a.only.{key}")
    assert words in mistake


def test_nothing_to_announce(tmp_path: Path) -> None:
    """Who waits for nobody has nothing to announce."""
    [mistake] = _mistakes(tmp_path, {"a": "announce: true"})
    assert mistake.startswith("intu.yaml:2: destinations.a.announce: it waits for nobody")
