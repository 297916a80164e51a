"""The file of people who may log in: one line each, ``name:role:hash``.

Hashes are argon2id (RFC 9106) with the library's defaults, which follow OWASP's advice.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from intu_fhir.errors import ConfigurationError
from intu_fhir.web.access.roles import Role, role_named

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
    """Write the whole file anew, readable by its owner alone; a crash leaves the old one.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    lines = [f"{u.name}:{u.role.word}:{u.password_hash}\n" for u in users.values()]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, new = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                out.writelines(lines)
                out.flush()
                os.fsync(out.fileno())
            os.replace(new, file)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written ({error.strerror}); name another place at web.users_file",
            file=str(file),
        ) from None


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

    Args:
        file: read again when it has changed.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._users: dict[str, User] = {}
        self._lock = threading.Lock()
        self._nobody = PasswordHasher().hash(os.urandom(16).hex())

    def users(self) -> Mapping[str, User]:
        """Return everybody by name.

        Raises:
            ConfigurationError: a line is wrong.
        """
        with self._lock:
            stamp = self._stamp()
            if stamp is None or stamp != self._seen:
                self._users = read_users(self._file)
                self._seen = stamp
            return self._users

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
