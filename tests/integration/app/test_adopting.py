"""Files of nobody are adopted; those of a receiver that is at work are not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from unittest.mock import patch

import pytest
import sqlalchemy as sa

from intu_fhir.app import adopting
from intu_fhir.app.adopting import adopt_files
from intu_fhir.app.importing import import_paths
from intu_fhir.app.wiring import App, open_app
from intu_fhir.db.tables import instances
from intu_fhir.errors import StoreUnavailable
from intu_fhir.settings.load import load_configuration
from intu_fhir.stage.import_files import Result
from intu_fhir.upkeep.verify import Verifier
from tests.support.promises import examine
from tests.support.site_folder import write_site
from tests.support.studies import make_instance, write_file


@pytest.fixture
def two(migrated_database_url: str, tmp_path: Path) -> Iterator[tuple[App, App]]:
    """Two processes of a site: one that takes objects in, and one of a person."""
    write_site(tmp_path, database=migrated_database_url, port=4104)
    live, hers = (open_app(load_configuration(tmp_path)) for _ in range(2))
    yield live, hers
    for app in (live, hers):
        app.rows.stop()
        app.close()


def test_nothing_is_adopted_while_somebody_writes(two: tuple[App, App]) -> None:
    """A live receiver may have files without a row: the command says to stop it."""
    live, hers = two
    live.files.enter()
    with pytest.raises(StoreUnavailable, match="stop it"):
        adopt_files(hers, ["instances/2024/01/01/0000/x.dcm"])


@pytest.mark.parametrize("row_comes", ["before", "after"])
def test_the_file_of_a_row_is_never_removed(
    two: tuple[App, App], tmp_path: Path, row_comes: str
) -> None:
    """A receiver started after the look: its object is whole, whose row is ever first (I1)."""
    live, hers = two
    media = tmp_path / "one.dcm"
    write_file(make_instance(), media)
    make_durable, placed, go_on = live.files.make_durable, Event(), Event()

    def slow(name: str) -> None:
        make_durable(name)
        placed.set()
        assert go_on.wait(30)

    with (
        patch.object(live.files, "make_durable", slow),
        patch.object(adopting, "somebody_writes", lambda _: False),
        ThreadPoolExecutor(1) as pool,
    ):
        importing = pool.submit(import_paths, live, [media])
        assert placed.wait(30)
        [name] = Verifier(hers.database, hers.files, hers.clock).without_row()
        if row_comes == "before":
            go_on.set()
            assert importing.result(30).counts[Result.STORED] == 1
        adopted = adopt_files(hers, [name])
        go_on.set()
        importing.result(30)
    known = Result.ALREADY_STORED if row_comes == "before" else Result.STORED
    assert adopted.counts[known] == 1
    with hers.database.read() as connection:
        [row] = connection.execute(sa.select(instances)).all()
    told = {row.sop_instance_uid: row.sha256}
    broken, _ = examine(hers.database, hers.files.root, told, leftovers=False)
    assert not broken
    assert list(hers.files.names()) == [row.file]
