"""Configuration folders for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def write_site(
    folder: Path,
    *,
    database: str,
    port: int,
    destinations: dict[str, dict[str, Any]] | None = None,
    channel: dict[str, Any] | None = None,
    **site: Any,
) -> Path:
    """Write a site with one channel ``radiology`` that sends to all destinations."""
    destinations = destinations or {}
    root = {
        "database": database,
        "files": str(folder / "files"),
        "destinations": destinations,
        # One port of its own for each site that a test wants to look at.
        "web": {"enabled": False},
        **site,
    }
    one = {
        "id": "radiology",
        "source": {"type": "dicom", "host": "127.0.0.1", "port": port, "ae_title": "INTU_TEST"},
        "settle": {"quiet_seconds": 20, "on_release": True},
        "destinations": sorted(destinations),
        **(channel or {}),
    }
    place = folder / "channels" / "radiology"
    place.mkdir(parents=True, exist_ok=True)
    (folder / "intu.yaml").write_text(yaml.safe_dump(root), encoding="utf-8")
    (place / "channel.yaml").write_text(yaml.safe_dump(one), encoding="utf-8")
    return folder
