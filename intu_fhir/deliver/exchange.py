"""One HTTP request and its complete answer, within a total deadline and a cap on bytes.

httpx bounds each read, so a server that drips a byte per second holds a worker for ever, and one
small compressed answer can fill the memory. Here the deadline is enforced below HTTP, on each
read and write of the socket, and the body is decoded piece by piece up to the cap.
"""

from __future__ import annotations

import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import httpcore
import httpx

from intu_fhir.deliver.addresses import each_address
from intu_fhir.deliver.answers import Answer
from intu_fhir.deliver.tls import ANSWERS_PLAINLY, answers_plainly, tls_context
from intu_fhir.errors import TransientError
from intu_fhir.settings.schema import ClientTls

_PIECE = 65_536
_CONNECTIONS = 32
_KEEP_SECONDS = 30.0
_CODINGS = {"": None, "identity": None, "gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content codings and what zlib calls them (its ``wbits``)."""


class NoAnswer(TransientError):
    """No complete answer came.

    Args:
        maybe_done: the request may have reached the server, and may have been carried out.
    """

    def __init__(self, message: str, *, maybe_done: bool) -> None:
        super().__init__(message)
        self.maybe_done = maybe_done


class _Deadline(threading.local):
    """Until when the request of this thread may take, on the monotonic clock."""

    until: float = float("inf")

    def left(self) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the total deadline has passed")
        return left


class _Stream(httpcore.NetworkStream):
    """A socket whose every wait ends at the deadline of the request in hand."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._inner, self._deadline = inner, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for begin in range(0, len(buffer), _PIECE):
            self._inner.write(buffer[begin : begin + _PIECE], self._deadline.left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _Stream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Opens sockets that keep the deadline."""

    def __init__(self, deadline: _Deadline) -> None:
        self._inner, self._deadline = httpcore.SyncBackend(), deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failed: Exception = httpcore.ConnectError("no address")
        try:
            for one, seconds in each_address(host, port, self._deadline.left):
                try:
                    inner = self._inner.connect_tcp(
                        one, port, seconds, local_address, socket_options
                    )
                    return _Stream(inner, self._deadline)
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                    failed = error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        except httpcore.ReadTimeout as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        raise failed


class _Body(httpx.SyncByteStream):
    """The body of an answer, read only as far as somebody asks."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Transport(httpx.BaseTransport):
    """httpx on a pool of connections that keep the deadline."""

    def __init__(self, context: ssl.SSLContext, deadline: _Deadline) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=_CONNECTIONS,
            keepalive_expiry=_KEEP_SECONDS,
            network_backend=_Backend(deadline),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.read(),
                extensions=request.extensions,
            )
        )
        return httpx.Response(response.status, headers=response.headers, stream=_Body(response))

    def close(self) -> None:
        self._pool.close()


class Exchange:
    """Sends requests to one far side; any number of threads may share it.

    Redirects are not followed, cookies, proxies and ``.netrc`` of the environment are not used.

    Args:
        timeout_seconds: for one request and its whole answer.
        max_answer_bytes: of a decoded body.
        tls: private authority and client certificate, where there are any.
    """

    def __init__(
        self, *, timeout_seconds: float, max_answer_bytes: int, tls: ClientTls | None = None
    ) -> None:
        self.timeout_seconds, self._max_bytes = timeout_seconds, max_answer_bytes
        self._deadline = _Deadline()
        self._client = httpx.Client(
            transport=_Transport(tls_context(tls), self._deadline),
            trust_env=False,
            timeout=timeout_seconds,
            headers={"User-Agent": "intu-fhir", "Accept-Encoding": "identity"},
        )

    def send(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send one request and return its complete answer.

        Raises:
            NoAnswer: no complete answer within the deadline and the cap.
        """
        self._deadline.until = time.monotonic() + self.timeout_seconds
        self._client.cookies.clear()
        request = self._client.build_request(method, url, headers=headers, content=body)
        try:
            response = self._client.send(request, stream=True)
            try:
                return Answer(response.status_code, _headers(response), self._read(response))
            finally:
                response.close()
        except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
            raise NoAnswer(
                _connect_words(error, origin_of(request.url)), maybe_done=False
            ) from error
        except httpcore.TimeoutException as error:
            raise NoAnswer(
                f"no complete answer within {self.timeout_seconds:g} s "
                f"from {origin_of(request.url)}",
                maybe_done=True,
            ) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpx.HTTPError) as error:
            raise NoAnswer(
                f"the connection to {origin_of(request.url)} broke before the answer was complete "
                f"({type(error).__name__})",
                maybe_done=True,
            ) from error

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def _read(self, response: httpx.Response) -> bytes:
        """Read and decode a body up to the cap."""
        coding = response.headers.get("content-encoding", "").strip().lower()
        if coding not in _CODINGS:
            raise NoAnswer(f"the answer has the content coding {coding[:40]!r}", maybe_done=True)
        wbits = _CODINGS[coding]
        decode = _plain if wbits is None else _Inflater(wbits)
        body = bytearray()
        for part in chain.from_iterable(map(decode, response.iter_raw(_PIECE))):
            body += part
            if len(body) > self._max_bytes:
                raise NoAnswer(f"the answer has over {self._max_bytes} bytes", maybe_done=True)
        return bytes(body)


def _plain(piece: bytes) -> Iterator[bytes]:
    yield piece


class _Inflater:
    """Decompresses a little at a time, so that nobody holds more than was asked for."""

    def __init__(self, wbits: int) -> None:
        self._inflate = zlib.decompressobj(wbits)

    def __call__(self, piece: bytes) -> Iterator[bytes]:
        try:
            while piece:
                yield self._inflate.decompress(piece, _PIECE)
                piece = self._inflate.unconsumed_tail
        except zlib.error as error:
            raise NoAnswer("the answer's compression is broken", maybe_done=True) from error


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def origin_of(url: httpx.URL) -> str:
    """Return whom a request goes to, without what may be a secret or of a patient."""
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"


def _connect_words(error: Exception, origin: str) -> str:
    """Say why no connection came about; a certificate that is not trusted has its own words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = cause.verify_message
            return f"the certificate of {origin} is not trusted ({why}); set ca_file and restart"
        if answers_plainly(cause):
            return f"no connection to {origin}: {ANSWERS_PLAINLY}; is it http?"
        if isinstance(cause, OSError) and cause.strerror:
            return f"no connection to {origin}: {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return f"no connection to {origin} ({type(error).__name__})"
