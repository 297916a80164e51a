"""The file of people who may log in: one line each, ``name:role:hash``.

Hashes are argon2id (RFC 9106) with the library's defaults, which follow OWASP's advice.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from intu_fhir.errors import ConfigurationError
from intu_fhir.web.access.roles import Role, role_named

_log = structlog.get_logger("intu_fhir.web")
MIN_PASSWORD, MAX_PASSWORD = 12, 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_AT_ONCE = threading.BoundedSemaphore(2)
"""A check takes 64 MiB for some 50 ms, on purpose; a flood of logins must not take it all."""


@dataclass(frozen=True, slots=True)
class User:
    """One line of the file."""

    name: str
    role: Role
    password_hash: str


def read_users(file: Path) -> dict[str, User]:
    """Return the people of a file by name; a file that is not there has none.

    Raises:
        ConfigurationError: a line is not what it has to be, or the file cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"cannot be read ({type(error).__name__}); give this user the permission",
            file=str(file),
        ) from None
    lines = enumerate(text.splitlines(), start=1)
    users = [_user(file, number, line) for number, line in lines if _counts(line)]
    return {user.name: user for user in users}


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _user(file: Path, number: int, line: str) -> User:
    name, _, rest = line.strip().partition(":")
    role, _, password_hash = rest.partition(":")
    known = role_named(role)
    if not _NAME.fullmatch(name) or known is None or not password_hash.startswith("$argon2id$"):
        raise ConfigurationError(
            "not a line of name, role and hash; write it with `intu-fhir users add`",
            file=str(file),
            line=number,
        )
    return User(name, known, password_hash)


def write_users(file: Path, users: Mapping[str, User]) -> None:
    """Write the whole file anew; a crash leaves the old one, and who could read it still can.

    A new file belongs to the group of its folder, which may read it.

    Raises:
        ConfigurationError: the file cannot be written, or not without taking it from its owner.
    """
    lines = [f"{u.name}:{u.role.word}:{u.password_hash}\n" for u in users.values()]
    place = file.resolve()  # what a link points to, not the link
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, new = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                _hand_over(out.fileno(), place)
                out.writelines(lines)
                out.flush()
                os.fsync(out.fileno())
            os.replace(new, place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written ({error.strerror}); name another place at web.users_file",
            file=str(file),
        ) from None


def _hand_over(descriptor: int, place: Path) -> None:
    """Give a file owner, group and mode of the one that it replaces: the service reads it live.

    Raises:
        ConfigurationError: its owner or group is somebody else, which only root can keep.
    """
    try:
        old = place.stat()
    except FileNotFoundError:
        _share_with_group(descriptor, place.parent.stat().st_gid)
        return
    new = os.fstat(descriptor)
    try:
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    except PermissionError:
        raise ConfigurationError(
            "belongs to another user or group, and would not any more; run this as its owner or as "
            "root",
            file=str(place),
        ) from None
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _share_with_group(descriptor: int, group: int) -> None:
    """Let the group of the folder read a new file; who is not in it keeps it to themselves."""
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, 0o640)


def new_user(name: str, role: Role, password: str) -> User:
    """Return a user with the hash of a password.

    Raises:
        ValueError: name or password are not what they have to be; the message says why.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("a name has 1 to 64 letters, digits and . _ @ -, a letter or digit first")
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ValueError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    if password.casefold() == name.casefold() or len(set(password)) < 4:
        raise ValueError("that password is guessed at once; take some words that belong together")
    return User(name, role, PasswordHasher().hash(password))


class UserFile:
    """The file as it is now: who is removed from it is out at once.

    A file that cannot be read, or has a wrong line, shuts nobody out: those of before stay, and
    the log says why.

    Args:
        file: read again when it has changed.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._users: dict[str, User] = {}
        self._problem = ""
        self._lock = threading.Lock()
        self._nobody = PasswordHasher().hash(os.urandom(16).hex())

    def users(self) -> Mapping[str, User]:
        """Return everybody by name."""
        with self._lock:
            stamp = self._stamp()
            if stamp is None or stamp != self._seen:
                self._read(stamp)
            return self._users

    def _read(self, stamp: tuple[int, int, int] | None) -> None:
        """Read the file; one that cannot be read is tried again each time, and told once."""
        try:
            self._users, self._seen, self._problem = read_users(self._file), stamp, ""
        except ConfigurationError as error:
            self._seen = None
            if str(error) != self._problem:
                self._problem = str(error)
                _log.error("users_not_read", error=self._problem, count=len(self._users))

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def check(self, name: str, password: str) -> User | None:
        """Return who it is where name and password fit; takes as long where nobody has the name."""
        user = self.users().get(name)
        fits = _fits(user.password_hash if user else self._nobody, password)
        return user if fits else None


def _fits(password_hash: str, password: str) -> bool:
    with _AT_ONCE:
        try:
            return PasswordHasher().verify(password_hash, password[: MAX_PASSWORD + 1])
        except (VerificationError, InvalidHashError):
            return False
