"""Roles, and the people who have them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum

from intu_fhir.settings.web import RoleClaims

MAX_NAME = 64


class Role(IntEnum):
    """What somebody may do; each role may do what the ones below it may."""

    VIEWER = 1
    """Look at everything that is staged and published."""
    OPERATOR = 2
    """Replay, release, settle, pause and resume; ask SQL of their own."""
    ADMINISTRATOR = 3
    """Read the audit trail, remove from quarantine."""

    @property
    def word(self) -> str:
        """Return the name that the configuration uses."""
        return self.name.lower()


def role_named(name: str) -> Role | None:
    """Return the role of this name, if there is one."""
    return next((role for role in Role if role.word == name), None)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who asks.

    Args:
        name: as the audit trail shows it.
        via: how we know: ``loopback``, ``password``, ``oidc``, ``proxy`` or ``token``.
        visit: id of the visit that forms belong to; empty for a token.
    """

    name: str
    role: Role
    via: str
    visit: str = ""

    def may(self, needed: Role) -> bool:
        """Say whether the role is enough."""
        return self.role >= needed


def role_of(groups: Collection[str], claims: RoleClaims) -> Role | None:
    """Return the highest role that one of the groups has."""
    for role in sorted(Role, reverse=True):
        if set(getattr(claims, role.word)) & set(groups):
            return role
    return role_named(claims.default) if claims.default else None


def printable_name(text: str) -> str:
    """Return a name as one short printable line: it comes from elsewhere."""
    return "".join(c for c in text if c.isprintable()).strip()[:MAX_NAME]
