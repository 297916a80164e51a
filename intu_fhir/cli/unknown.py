"""Names that nothing has: a typing mistake must not look like good news."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from intu_fhir.cli.program import Program
from intu_fhir.db.delivery_report import count_deliveries

if TYPE_CHECKING:
    from intu_fhir.db.session import Connection


def known_destinations(program: Program, connection: Connection) -> set[str]:
    """Return the destinations that are configured or were ever to get anything."""
    return {*count_deliveries(connection), *program.staging().site.destinations}


def refuse_unknown(program: Program, connection: Connection, destination: str | None) -> None:
    """Refuse a destination that is neither configured nor was ever to get anything.

    Raises:
        click.BadParameter: it is one; says which there are.
    """
    if destination is not None:
        refuse_unknown_destination(destination, known_destinations(program, connection))


def refuse_unknown_destination(destination: str, known: Iterable[str]) -> None:
    """Refuse the name of a destination that is not among those that are known.

    Raises:
        click.BadParameter: it is not; says which there are.
    """
    names = sorted(set(known))
    if destination not in names:
        raise click.BadParameter(
            f"nothing was ever to be delivered to {destination}; "
            f"there are: {', '.join(names) or 'none'}",
            param_hint="--destination",
        )
