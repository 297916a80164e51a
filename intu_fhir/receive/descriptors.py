"""File descriptors of a receiving process: as many as its limits let peers use up."""

from __future__ import annotations

import resource

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.schema import Receiver

_OF_AN_ASSOCIATION = 4
"""Socket, spool file and folder, and the socket of one more that waits for its association."""
_OF_THE_REST = 256
"""Listeners, database, log, web page, destinations."""


def descriptors_wanted(limits: Receiver) -> int:
    """Return how many descriptors a process needs when every place is taken."""
    return _OF_AN_ASSOCIATION * limits.max_associations + _OF_THE_REST


def require_descriptors(limits: Receiver) -> None:
    """Make sure that the system gives this process as many.

    Raises:
        ConfigurationError: it does not.
    """
    wanted = descriptors_wanted(limits)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise ConfigurationError(
            f"{limits.max_associations} associations need {wanted} file descriptors, and the "
            f"system gives {hard}; raise that (`ulimit -Hn`, LimitNOFILE), or take "
            f"{max(1, (hard - _OF_THE_REST) // _OF_AN_ASSOCIATION)} or fewer",
            key="receiver.max_associations",
        )


def raise_descriptors(limits: Receiver) -> None:
    """Have this process take as many as it needs.

    Raises:
        ConfigurationError: the system does not give so many.
    """
    require_descriptors(limits)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = descriptors_wanted(limits)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
