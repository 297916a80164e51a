"""The file of people under a page that runs: written anew, broken, mended."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from intu_fhir.errors import ConfigurationError
from intu_fhir.web.access.roles import Role
from intu_fhir.web.access.users import User, UserFile, read_users, write_users
from tests.support.databases import sqlite_url
from tests.support.web import serving, write_people

ANNA = User("anna", Role.VIEWER, "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaA")
BORIS = User("boris", Role.OPERATOR, ANNA.password_hash)
SOMEBODY, THEIR_GROUP = 54_321, 54_322

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")


def _rights(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder in which everybody may write."""
    folder = Path(tempfile.mkdtemp(prefix="intu-people-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def _as_somebody() -> Iterator[None]:
    os.setegid(THEIR_GROUP)
    os.seteuid(SOMEBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_file_that_is_written_anew_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    """Who could read the file can read it after a change, and nobody else."""
    file = tmp_path / "people"
    write_users(file, {"anna": ANNA})
    file.chmod(mode)
    write_users(file, {"anna": ANNA, "boris": BORIS})
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert set(read_users(file)) == {"anna", "boris"}


@needs_root
def test_a_file_that_is_written_anew_keeps_its_owner(tmp_path: Path) -> None:
    """What an administrator adds as root leaves the file to the service; a link stays one."""
    file, link = tmp_path / "people", tmp_path / "link"
    link.symlink_to(file)
    write_users(file, {"anna": ANNA})
    os.chown(file, SOMEBODY, THEIR_GROUP)
    file.chmod(0o640)
    write_users(link, {"anna": ANNA, "boris": BORIS})
    assert _rights(file) == (SOMEBODY, THEIR_GROUP, 0o640)
    assert link.is_symlink()
    assert list(tmp_path.glob(".people*")) == []


@needs_root
def test_a_new_file_is_read_by_the_group_of_its_folder(tmp_path: Path) -> None:
    """In a folder of the service's group a new file can be read by the service, by others not."""
    os.chown(tmp_path, -1, THEIR_GROUP)
    write_users(tmp_path / "people", {"anna": ANNA})
    assert _rights(tmp_path / "people") == (0, THEIR_GROUP, 0o640)


@needs_root
def test_a_file_is_not_taken_from_its_owner(open_folder: Path) -> None:
    """Who cannot leave the file to its owner changes nothing, and is told who can."""
    file = open_folder / "people"
    write_users(file, {"anna": ANNA})
    before = _rights(file), file.read_bytes()
    with _as_somebody(), pytest.raises(ConfigurationError, match="owner or as root"):
        write_users(file, {"boris": BORIS})
    assert (_rights(file), file.read_bytes()) == before
    assert list(open_folder.glob(".people*")) == []


@pytest.mark.parametrize("broken", [b"anna:viewer\n", b"\xff\xfe"], ids=["line", "bytes"])
def test_a_broken_file_shuts_nobody_out(tmp_path: Path, broken: bytes) -> None:
    """Whoever is in goes on, whoever comes can log in; a mended file counts at once."""
    people = write_people(tmp_path / "people")
    good = people.read_bytes()
    url = sqlite_url(tmp_path / "staging.db")
    with (
        serving(tmp_path, url, web={"users_file": str(people)}) as served,
        served.logged_in(Role.OPERATOR) as client,
    ):
        people.write_bytes(good + broken)
        assert client.get("/studies").status_code == 200
        with served.logged_in(Role.VIEWER) as another:
            assert another.get("/studies").status_code == 200
        people.write_bytes(
            b"".join(one for one in good.splitlines(True) if b"operator:" not in one)
        )
        assert client.get("/studies").status_code == 303


def test_a_broken_file_is_told_once(tmp_path: Path) -> None:
    """The log says what is wrong, once however many requests come, and again when it changes."""
    file = tmp_path / "people"
    write_users(file, {"anna": ANNA})
    known = UserFile(file)
    assert set(known.users()) == {"anna"}
    with capture_logs() as logged:
        for text in ("anna\n", "anna\n", "\nanna\n"):
            file.write_text(text)
            assert set(known.users()) == {"anna"}
    assert [one["event"] for one in logged] == ["users_not_read"] * 2
    assert all(ANNA.password_hash not in str(one) for one in logged)
    file.unlink()
    assert known.users() == {}
