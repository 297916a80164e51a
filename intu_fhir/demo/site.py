"""The folder of a demonstration: a configuration like any other, between two stand-ins."""

from __future__ import annotations

import shutil
from pathlib import Path

from intu_fhir.errors import ConfigurationError

MARKER = ".intu-demo"
CALLING_AE_TITLE = "DEMO_MODALITY"
CALLED_AE_TITLE = "INTU_DEMO"

_SITE = """\
# Made by `intu-fhir demo`; a site of your own begins with `intu-fhir init`.
database: sqlite:///data/staging.db
files: data/files
time_zone: Europe/Berlin
identifiers:
  patient: {{default: "urn:uuid:5e1f9a0c-6a6e-4f0a-9c53-0f6f3d2b7a11"}}
  accession: {{default: "urn:uuid:0e0a4f4e-0f57-4f93-8a3f-2f8ad6f7c0d2"}}
destinations:
  ehr_fhir:
    type: fhir
    base_url: {ehr_url}
    release: {release}
    subject: {{strategy: create}}          # the stand-in EHR knows no patients yet
  pacs_archive:
    type: dicom
    host: 127.0.0.1
    port: {pacs_port}
    ae_title: INTU_SCU
    called_ae_title: DEMO_PACS
"""
_CHANNEL = """\
id: demo
source: {{type: dicom, host: 127.0.0.1, port: {port}, ae_title: {ae_title}}}
settle: {{quiet_seconds: 30, on_release: true}}
destinations: [pacs_archive, ehr_fhir]
"""


def fresh_folder(folder: Path) -> Path:
    """Return an empty folder for a demonstration; an earlier one in its place is removed.

    Raises:
        ConfigurationError: the folder holds something else, which is not ours to remove.
    """
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise ConfigurationError(
                f"{folder} holds other files; name another folder with --folder"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("removed and made anew by `intu-fhir demo`\n")
    return folder


def write_site(folder: Path, *, port: int, ehr_url: str, pacs_port: int, release: str) -> None:
    """Write the configuration of the demonstration."""
    channel = folder / "channels" / "demo"
    channel.mkdir(parents=True)
    site = _SITE.format(ehr_url=ehr_url, pacs_port=pacs_port, release=release)
    (folder / "intu.yaml").write_text(site, encoding="utf-8")
    (channel / "channel.yaml").write_text(
        _CHANNEL.format(port=port, ae_title=CALLED_AE_TITLE), encoding="utf-8"
    )
