"""TLS of a listener (PS3.15 B.12: BCP 195, that is RFC 9325)."""

from __future__ import annotations

import ssl

from intu_fhir.errors import ConfigurationError
from intu_fhir.settings.schema import ServerTls

# RFC 9325 4.2: forward secrecy and authenticated encryption only; TLS 1.3 brings its own suites.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20"


def server_context(tls: ServerTls) -> ssl.SSLContext:
    """Return the context of a listener; with a ``ca_file`` clients must show a certificate.

    Raises:
        ConfigurationError: a file is missing or is not what its key says.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= (
        ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    )
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ValueError) as error:
        raise _wrong(error, "cert_file", f"{tls.cert_file} with key {tls.key_file}") from error
    if tls.ca_file is not None:
        try:
            context.load_verify_locations(tls.ca_file)
        except (OSError, ValueError) as error:
            raise _wrong(error, "ca_file", str(tls.ca_file)) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _wrong(error: Exception, key: str, what: str) -> ConfigurationError:
    reason = getattr(error, "strerror", None) or type(error).__name__
    return ConfigurationError(
        f"cannot use {what}: {reason}; give a PEM file that this user can read",
        key=f"source.tls.{key}",
    )
