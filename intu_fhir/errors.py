"""Every error we raise, grouped by what to do next.

::

    IntuError
    ├── TransientError        try again later: a peer, a disk or a database is not there right now
    │   ├── StoreUnavailable  file store or database cannot take an object now (answered A700)
    │   │   ├── NotHereYet        the bytes wait on another machine for their upload
    │   │   ├── OutcomeUnknown    the database may have stored it, or may yet do so
    │   │   └── NotDurable        the database would lose commits with the power of its machine
    │   ├── Busy              a setting allows no more of it at the same time (answered A700)
    │   └── StaleClaim        another worker holds this work now; drop what was done
    ├── PermanentError        trying again changes nothing: a person or another input is needed
    │   ├── InvalidDataSet    the bytes are not a readable data set (answered C000)
    │   │   └── LimitPassed       the data set asks for more than a setting allows
    │   ├── DamagedFile       stored bytes are not what was received
    │   ├── IdentityMismatch  data set and command disagree (answered A900)
    │   ├── InvalidUid        a UID is missing or breaks PS3.5 9.1 (answered 0117)
    │   └── NotAuthorized     a peer answers for another one (answered 0124)
    └── ConfigurationError    the configuration is wrong; the message names file, line and remedy
"""

from __future__ import annotations


class IntuError(Exception):
    """Base of every error of this package; the message never holds patient data.

    Notes (PEP 678) name our servers and users: for who sits at the machine, not for who asks by
    network.
    """

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is to be told at the machine."""
        return tuple(getattr(self, "__notes__", ()))


class TransientError(IntuError):
    """May succeed when tried again later."""


class StoreUnavailable(TransientError):
    """The file store or the database cannot take an object now."""


class NotHereYet(StoreUnavailable):
    """The bytes wait on another machine for their upload to the object store."""


class OutcomeUnknown(StoreUnavailable):
    """A commit ended without an answer: what it held may be stored, or not."""


class NotDurable(StoreUnavailable):
    """The database is set up so that a power cut may lose what it has committed."""


class Deadlocked(StoreUnavailable):
    """Two transactions waited for each other, and the database undid this one; try it again."""


class RowLocked(StoreUnavailable):
    """Another transaction keeps a row for longer than it is waited for; others can be written."""


class Busy(TransientError):
    """As much is being done as a setting allows.

    Args:
        message: what waited, and for how long.
        limit: key of the setting within ``receiver``.
    """

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


class StaleClaim(TransientError):
    """The lease of this work went to another worker; nothing was written."""


class PermanentError(IntuError):
    """Will not succeed when tried again with the same input."""


class InvalidDataSet(PermanentError):
    """The bytes are not a readable DICOM data set (PS3.5)."""


class LimitPassed(InvalidDataSet):
    """Reading the data set would take more than a setting allows.

    Args:
        message: what is too much and what to do about it.
        limit: key of the setting within ``receiver``.
    """

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


class DamagedFile(PermanentError):
    """The bytes that a store gives back are not those that were put there."""


class UnknownKey(DamagedFile):
    """The bytes are sealed with a key that this machine has not got; nothing is said of them."""


class IdentityMismatch(PermanentError):
    """The data set is not the instance that the C-STORE command announced (PS3.4 B.2.3)."""


class InvalidUid(PermanentError):
    """A UID is missing or is not a valid UID (PS3.5 9.1)."""


class NotAuthorized(PermanentError):
    """A peer answers what was asked of another one (PS3.7 annex C, 0124)."""


class ConfigurationError(IntuError):
    """The configuration is wrong.

    Args:
        message: what is wrong and what to do about it.
        file: the file that holds the mistake, if one does.
        line: the line of the mistake, counted from 1.
        key: the dotted key, such as ``source.port``.
    """

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, key: str = ""
    ) -> None:
        self.file, self.line, self.key, self.reason = file, line, key, message
        where = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(f"{where}{key + ': ' if key else ''}{message}")
