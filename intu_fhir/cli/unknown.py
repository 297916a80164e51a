"""Names that nothing has: a typing mistake must not look like good news."""

from __future__ import annotations

from collections.abc import Iterable

import click


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
