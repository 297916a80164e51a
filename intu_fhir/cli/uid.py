"""A UID that somebody types or pastes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import click

from intu_fhir.cli.text import clean
from intu_fhir.db.part_of import studies_with_part
from intu_fhir.db.quarantine import quarantined_as
from intu_fhir.db.reports import StudyRow, find_study
from intu_fhir.model.uid import is_uid

if TYPE_CHECKING:
    from intu_fhir.db.session import Connection

_AROUND = " \t\r\n\0\N{NO-BREAK SPACE}\N{ZERO WIDTH SPACE}\N{ZERO WIDTH NO-BREAK SPACE}"


class Uid(click.ParamType[str]):
    """A UID, without what cannot be seen around it, such as the line end of a CSV file."""

    name = "uid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take off what stands around it; whether it names anything, the database knows."""
        return str(value).strip(_AROUND)


class UidOrPath(Uid):
    """A UID likewise, or a path, which stays as it is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take off what stands around a UID."""
        bare = super().convert(value, param, ctx)
        return bare if is_uid(bare) else str(value)


UID, UID_OR_PATH = Uid(), UidOrPath()


def known_study(connection: Connection, uid: str, hint: str) -> StudyRow:
    """Return a study that was received.

    Raises:
        click.BadParameter: it was not; says of which study it is a part, where it is one.
    """
    found = find_study(connection, uid)
    if found is None:
        refuse_study(connection, uid, hint)
    return found


def refuse_study(connection: Connection, uid: str, hint: str) -> NoReturn:
    """Say of a UID that no study has what it is.

    Raises:
        click.BadParameter: always.
    """
    raise click.BadParameter(_what_it_is(connection, uid), param_hint=hint)


def _what_it_is(connection: Connection, uid: str) -> str:
    if not is_uid(uid):
        return f"{clean(uid)!r} is no UID, which is digits and dots"
    what, studies = studies_with_part(connection, uid)
    if not studies and (number := quarantined_as(connection, uid)) is not None:
        return f"{uid} is in quarantine; see `intu-fhir quarantine show {number}`"
    if not studies:
        return f"{uid} was never received"
    kind = {"instance": "an instance", "series": "a series"}[what]
    whole = "study" if len(studies) == 1 else "studies"
    return f"{uid} is {kind} of {whole} {' and '.join(studies)}"
