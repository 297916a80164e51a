"""What the Overview says of the parts that a site cannot do without."""

from __future__ import annotations

from pathlib import Path

from tests.support.databases import sqlite_url
from tests.support.web import serving


def test_the_overview_knows_what_readyz_knows(tmp_path: Path) -> None:
    """Where the file store is gone no step that needs it is green, and the repair is said."""
    with serving(tmp_path, sqlite_url(tmp_path / "staging.db")) as served, served.client() as web:
        assert "takes nothing in" not in web.get("/").text
        (tmp_path / "files").rename(tmp_path / "away")
        assert web.get("/readyz").status_code == 503
        served.page.site.cached.forget("ready")
        page = web.get("/").text
        assert "The file store cannot be reached: No such file or directory" in page
        assert "Mount its disk" in page
        assert page.count("takes nothing in: files") == 2
        assert "Nothing needs you" not in page
        told = web.get("/api/v1/overview").json()["stuck"][0]
        assert (told["weight"], told["path"]) == ("dead", "")
        (tmp_path / "away").rename(tmp_path / "files")
        served.page.site.cached.forget("ready")
        assert "Nothing needs you" in web.get("/").text
