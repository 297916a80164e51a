"""A modality: sends files over one real association, as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from intu_fhir.deliver.dicom import ObjectToSend, StorageScu
from intu_fhir.demo.site import CALLED_AE_TITLE, CALLING_AE_TITLE
from intu_fhir.errors import ConfigurationError, PermanentError
from intu_fhir.files.part10 import part10_head
from intu_fhir.model.outcome import InstanceOutcome, Retry
from intu_fhir.settings.schema import DicomDestination
from intu_fhir.stage.header import read_header
from intu_fhir.stage.media import Candidate, find_objects


@dataclass(frozen=True, slots=True)
class Sent:
    """What a modality sent.

    Args:
        accepted: answered with Success.
        refused: SOP Instance UID of each object that was not, and what was answered.
        skipped: names of files that hold no DICOM object, with the reason.
    """

    accepted: int
    refused: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    problem: str = ""


def require_objects(paths: Sequence[Path]) -> None:
    """Look whether there is anything to send.

    Raises:
        ConfigurationError: there is nothing.
    """
    if not any(isinstance(found, Candidate) for found in find_objects(paths)):
        names = ", ".join(str(path) for path in paths[:3])
        raise ConfigurationError(
            f"no DICOM object in {names}; name DICOM files, folders, archives or media"
        )


def send_files(
    paths: Sequence[Path],
    port: int,
    folder: Path,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sent:
    """Send what the paths hold to a port of this machine.

    Args:
        folder: where objects that are no plain files (in archives) are unpacked.
    """
    skipped: list[tuple[str, str]] = []
    objects = list(_objects(paths, folder, skipped))
    answers: list[InstanceOutcome] = []

    def answered(answer: InstanceOutcome) -> None:
        answers.append(answer)
        on_progress(len(answers), len(objects))

    destination = DicomDestination(
        type="dicom",
        host="127.0.0.1",
        port=port,
        ae_title=CALLING_AE_TITLE,
        called_ae_title=CALLED_AE_TITLE,
    )
    outcome = StorageScu(destination).send(objects, answered, keep_going=lambda: True)
    return Sent(
        accepted=sum(answer.delivered for answer in answers),
        refused=tuple((a.sop_instance_uid, _said(a)) for a in answers if not a.delivered),
        skipped=tuple(skipped),
        problem=outcome.detail if isinstance(outcome, Retry) else "",
    )


def _said(answer: InstanceOutcome) -> str:
    """Return status and reason, without the advice for a PACS that refuses: here we are it.

    Our receiver's own words say more than what the standard means by the status.
    """
    reason = answer.detail.rpartition("; the PACS")[0] or answer.detail
    own = reason.partition(" (")[2].removesuffix(")")
    return ": ".join(part for part in (answer.status, own or reason) if part)


def _objects(
    paths: Sequence[Path], folder: Path, skipped: list[tuple[str, str]]
) -> Iterator[ObjectToSend]:
    for found in find_objects(paths):
        if not isinstance(found, Candidate):
            skipped.append((found.name, getattr(found, "reason", "missing on its media")))
            continue
        try:
            yield _unpacked(found, folder)
        except PermanentError as error:
            skipped.append((found.name, str(error)))


def _unpacked(found: Candidate, folder: Path) -> ObjectToSend:
    """Write an object below a head of its own, since it may stand in an archive or lack one."""
    with found.open() as file:
        data_set = file.read(found.max_bytes)[found.place.offset :]
    syntax = found.place.transfer_syntax_uid
    header = read_header(data_set, syntax)
    head = part10_head(header.sop_class_uid, header.sop_instance_uid, syntax)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir())):06}.dcm"
    path.write_bytes(head + data_set)
    return ObjectToSend(
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=syntax,
        file=path,
        data_set_offset=len(head),
    )
