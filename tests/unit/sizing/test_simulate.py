"""A site that is only figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intu_fhir.cli.main import run
from intu_fhir.errors import ConfigurationError
from intu_fhir.sizing.figures import Figures, load_figures
from intu_fhir.sizing.simulate import Result, advice, simulate


def _simulate(**figures: object) -> Result:
    return simulate(Figures.model_validate(figures))


def test_a_site_with_reserve() -> None:
    """Where all is idle a study is there when it has settled and been sent."""
    result = _simulate(
        load={"studies_per_minute": 1, "images_per_study": 10, "spread": 0},
        destinations={"ehr": {"seconds_per_study": 2.0}},
        quiet_seconds=30,
    )
    (way,) = result.ways
    assert way.middle == pytest.approx(30 + 0.08 + 10 * 0.00402 + 2, abs=0.01)
    assert result.images == 10 * result.studies
    assert advice(result) == []


def test_what_is_too_small_is_named_first() -> None:
    """The place that falls behind, with what it would need."""
    result = _simulate(
        load={"studies_per_minute": 60, "spread": 0},
        destinations={"pacs": {"seconds_per_study": 8, "at_once": 4}},
        receivers={"machines": 4},
    )
    assert advice(result)[0] == "pacs: falls behind; it needs 2.0 times as much"
    assert {place.name: place.busy > 1 for place in result.places} == {
        "receivers": False,
        "workers": False,
        "pacs": True,
    }


def test_what_each_image_costs_a_worker_counts() -> None:
    """Describing counts for each image, sending for each image and each PACS."""
    site = {"load": {"studies_per_minute": 30, "spread": 0, "images_per_study": 100}}
    costs = {"describe_seconds_per_image": 0.01, "send_seconds_per_image": 0.002}
    workers = {"seconds_per_study": 0, "seconds_per_image": 0, "cores": 4, **costs}
    pacs = {"seconds_per_image": 0.001}
    busy = [
        _simulate(**site, workers=workers, destinations=far).places[1].busy
        for far in ({"ehr": {}}, {"ehr": {}, "a": pacs}, {"ehr": {}, "a": pacs, "b": pacs})
    ]
    assert [one / busy[0] for one in busy] == pytest.approx([1, 1.2, 1.4])


def test_an_object_store_costs_a_receiver() -> None:
    """What uploads as well takes less."""
    load, receivers = {"studies_per_minute": 30}, {"images_per_second": 200}
    slower = {**receivers, "object_store": True, "upload_seconds_per_image": 0.005}
    folder, bucket = (_simulate(load=load, receivers=one).places[0] for one in (receivers, slower))
    assert bucket.busy == pytest.approx(2 * folder.busy)


def test_one_more_machine_helps() -> None:
    """Twice the receivers are half as busy."""
    load = {"studies_per_minute": 30}
    one, two = (
        {place.name: place for place in _simulate(load=load, receivers={"machines": n}).places}
        for n in (1, 2)
    )
    assert two["receivers"].busy == pytest.approx(one["receivers"].busy / 2)


def test_one_destination_after_another() -> None:
    """Who comes after the PACS waits for it, in its outage as well."""
    outage = {"begin": 0, "end": 60}
    pacs = {"seconds_per_image": 0.001, "outage": outage}
    result = _simulate(
        load={"studies_per_minute": 2},
        destinations={"ehr": {"after": "pacs"}, "pacs": pacs},
        minutes=30,
    )
    ehr = next(way for way in result.ways if way.destination == "ehr")
    assert ehr.longest > 3_000


def test_destinations_that_wait_for_each_other() -> None:
    """Are refused, not waited for."""
    with pytest.raises(ConfigurationError, match="wait for each other"):
        _simulate(destinations={"a": {"after": "b"}, "b": {"after": "a"}})


def test_too_many_studies() -> None:
    """A number that would take all memory is refused with what to do."""
    with pytest.raises(ConfigurationError, match="simulate fewer minutes"):
        _simulate(load={"studies_per_minute": 1e6})


def test_the_same_seed_gives_the_same_studies() -> None:
    """So two plans can be compared."""
    assert _simulate(seed=3) == _simulate(seed=3)
    assert _simulate(seed=3).images != _simulate(seed=4).images


def test_a_mistake_in_the_figures(tmp_path: Path) -> None:
    """Is told with line and key."""
    file = tmp_path / "figures.yaml"
    file.write_text("load:\n  studies_per_minut: 3\n")
    with pytest.raises(ConfigurationError, match=r"figures.yaml:2: load.studies_per_minut"):
        load_figures(file)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures come from a file and from options, the options count; too little ends with 1."""
    file = tmp_path / "figures.yaml"
    file.write_text("load: {studies_per_minute: 5}\nminutes: 10\n")
    assert run(["sizing", "--figures", str(file)]) == 0
    assert "BUSY" in capsys.readouterr().out
    command = ["sizing", "--figures", str(file), "--studies-per-minute", "500", "--json"]
    assert run(command) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["places"][0]["busy"] > 1
    assert run([*command, "--receivers", "40"]) == 1  # the archive is too slow then
