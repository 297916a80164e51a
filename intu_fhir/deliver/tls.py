"""TLS towards a destination (PS3.15 B.12, RFC 9325)."""

from __future__ import annotations

import ssl

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.schema import ClientTls

_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"})
"""What OpenSSL calls bytes that are no record of TLS."""
ANSWERS_PLAINLY = "it answers without TLS"
"""How messages say so."""


def tls_context(tls: ClientTls | None) -> ssl.SSLContext:
    """Return the TLS settings of a client: TLS 1.2 or newer, certificates and names checked.

    Raises:
        ConfigurationError: a file cannot be read or is no certificate or key.
    """
    context = None
    try:
        context = ssl.create_default_context(cafile=tls.ca_file if tls else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls and tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:
        what = "ca_file" if context is None else "cert_file and key_file"
        raise ConfigurationError(
            f"cannot be used for TLS ({error.strerror or type(error).__name__})", key=f"tls.{what}"
        ) from error
    return context


def answers_plainly(error: BaseException) -> bool:
    """Say whether a handshake failed since what came was no TLS at all."""
    return isinstance(error, ssl.SSLError) and error.reason in _NO_TLS
