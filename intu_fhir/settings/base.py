"""What all sections of the configuration are made of."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        allow_inf_nan=False,  # a limit without end is none
    )

    @model_validator(mode="before")
    @classmethod
    def _no_number_is_true(cls, values: Any) -> Any:
        """Let true and false be no numbers: they would count as 1 and 0."""
        if not isinstance(values, dict):
            return values
        numbers = {n for n, field in cls.model_fields.items() if _is_number(field.annotation)}
        wrong = {n for n in numbers & values.keys() if isinstance(values[n], bool)}
        return values | {name: str(values[name]).lower() for name in wrong}


def _is_number(kind: Any) -> bool:
    if get_origin(kind) in {Annotated, Union, UnionType}:
        return any(map(_is_number, get_args(kind)))
    return kind in {int, float}


def _ae_title(value: str) -> str:
    title = value.strip(" ")
    if not 1 <= len(title) <= 16 or not all(" " <= c <= "~" and c != "\\" for c in title):
        raise ValueError("an AE title has 1 to 16 printable ASCII characters without backslash")
    return title


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("not an IANA time zone; write for example Europe/Berlin") from None
    return value


def _token(value: str) -> str:
    if not value or not all("!" <= c <= "~" for c in value):
        raise ValueError(
            "must be one word of ASCII letters, digits and signs, as the server gave it out"
        )
    return value


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        raise ValueError(
            "not an IP address or network; write for example 10.1.0.0/16, with no bit set behind "
            "the prefix"
        ) from None


def host_from_here(host: str) -> str:
    """Return where this machine reaches what listens at ``host``, perhaps on all interfaces."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def address_from_here(scheme: str, host: str, port: int) -> str:
    """Return the address by which this machine reaches what listens at ``host``."""
    near = host_from_here(host)
    return f"{scheme}://{f'[{near}]' if ':' in near else near}:{port}"


AeTitle: TypeAlias = Annotated[str, AfterValidator(_ae_title)]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=31_536_000)]
"""A time of a year at most: longer ones are beyond what sockets and calendars take."""
Days: TypeAlias = Annotated[float, Field(gt=0, le=36_500)]
"""A time of a century at most."""
TimeZone: TypeAlias = Annotated[str, AfterValidator(_zone)]
Network: TypeAlias = Annotated[str, AfterValidator(_network)]
Token: TypeAlias = Annotated[str, AfterValidator(_token)]
"""What stands in a header as it is (RFC 6750 2.1)."""


class ServerTls(Settings):
    """TLS of a listener; a ``ca_file`` makes client certificates required."""

    cert_file: Path
    """Our certificate, PEM."""
    key_file: Path
    """Its private key, PEM."""
    ca_file: Path | None = None
    """Authorities whose certificates senders must show; absent = none is asked for."""


class ClientTls(Settings):
    """TLS towards a destination; without ``ca_file`` the system's authorities count."""

    ca_file: Path | None = None
    """Authorities to trust, PEM; absent = the system's."""
    cert_file: Path | None = None
    """Certificate that we show, PEM."""
    key_file: Path | None = None
    """Its private key, PEM."""
