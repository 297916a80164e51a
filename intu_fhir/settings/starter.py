"""The configuration that ``intu-fhir init`` writes: small, commented, good as it stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SITE = """\
# intu.yaml: one per site. Paths are relative to this file.
# After a change: `intu-fhir check`. Unknown keys are errors, so a typing mistake is found.

database: sqlite:///data/staging.db       # or postgresql+psycopg://user@host/name
files: data/files                         # pixel data; put it on a disk with room
# time_zone: Europe/Berlin                # of the modalities, where headers name none

# Whose Patient IDs these are, as your EHR writes it: without it no patient is found there.
# identifiers: {patient: {default: "https://hospital.example.org/patient-ids"}}

# Where studies go. Replace the {} below by what you need, without its leading "# ", put your own
# values in, and name it under `destinations` in the channel. `intu-fhir check` then asks each of
# them whether it is there.
# Secrets never stand here: ${env:NAME} takes an environment variable, ${file:path} a file.
destinations: {}
#   ehr_fhir:
#     type: fhir
#     base_url: https://ehr.example.org/fhir
#     release: r4                         # r4 or r5
#     auth: {type: bearer, token: "${env:EHR_TOKEN}"}    # or basic, oauth2, smart_backend, none
#     subject: {strategy: search}         # search | logical | create | conditional
#   pacs_archive:
#     type: dicom
#     host: pacs.example.org
#     port: 11112
#     ae_title: INTU_SCU                  # we, as the archive knows us
#     called_ae_title: PACS_SCP           # the archive
#     max_associations: 2
"""

CHANNEL = """\
# One folder per channel; paths are relative to this file.

id: radiology-ingest
enabled: true
group: imaging
source:
  type: dicom
  port: 4104                              # modalities send to this port
  ae_title: INTU_SCP                      # and to this AE title
  # calling_ae_titles: [CT_SCANNER_1]     # only these may send; without it, everyone may
  # tls: {cert_file: ./certs/dicom-server.crt, key_file: ./certs/dicom-server.key}
# transformer: dicom_to_fhir.py           # a Python hook: def transform(message): ...
# mapping: imaging_study.yaml             # instead of the mapping that is shipped
settle: {quiet_seconds: 30}               # a study is complete this long after its last image
destinations: []                          # for example [pacs_archive, ehr_fhir]; empty = only stage
"""

FILES = {"intu.yaml": SITE, "channels/radiology-ingest/channel.yaml": CHANNEL}
"""Text by path below the configuration folder."""


@dataclass(frozen=True, slots=True)
class Started:
    """What became of the starter files."""

    written: tuple[Path, ...]
    kept: tuple[Path, ...]


def write_starter(folder: Path) -> Started:
    """Write the starter files into ``folder``; a file that is there already stays as it is.

    Raises:
        OSError: the folder cannot be written to.
    """
    written, kept = [], []
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            kept.append(path)
        else:
            written.append(path)
    return Started(tuple(written), tuple(kept))
