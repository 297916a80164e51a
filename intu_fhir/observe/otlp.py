"""Traces by OpenTelemetry, sent in OTLP over HTTP; needs the extra ``otel``.

Imported only where a site asks for traces.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from intu_fhir.observe.logging import ALLOWED, printable
from intu_fhir.observe.tracing import Attribute, Span
from intu_fhir.settings.tracing import TracingSettings

_log = structlog.get_logger("intu_fhir.traces")
_PREFIX = "intu."
_STOP_MILLISECONDS = 5_000
_CONTEXT = TraceContextTextMapPropagator()
_KEY = "traceparent"


class OtlpTracing:
    """Sends spans to a collector, some seconds later and in batches; never waits for it.

    What a collector does not take in time is dropped, and the log says so.

    Args:
        endpoint: where the collector takes traces.
        process: names this process among those of the site.
    """

    is_on = True

    def __init__(self, settings: TracingSettings, endpoint: str, process: str) -> None:
        # It tells each failure as a traceback; ours is one line.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        exporter = OTLPSpanExporter(
            endpoint=endpoint,
            headers=dict(settings.headers),
            timeout=settings.timeout_seconds,
        )
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.share)),
            resource=Resource(
                {
                    "service.name": settings.service,
                    "service.version": version("intu-fhir"),
                    "service.instance.id": process,
                }
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Told(exporter)))
        self._tracer = self._provider.get_tracer("intu_fhir")

    def begin(
        self,
        name: str,
        *,
        parent: str = "",
        links: Sequence[str] = (),
        at: datetime | None = None,
        **attributes: Attribute,
    ) -> Span:
        """Say that a piece of work began; see ``Tracing``."""
        span = self._tracer.start_span(
            name,
            context=_CONTEXT.extract({_KEY: parent})
            if parent
            else trace.set_span_in_context(trace.INVALID_SPAN),
            links=[trace.Link(found) for found in map(_context_of, links) if found.is_valid],
            start_time=_nanoseconds(at) if at else None,
            attributes=_allowed(attributes),
        )
        return _OtlpSpan(span)

    def stop(self) -> None:
        """Send what is there, in bounded time, and end."""
        self._provider.force_flush(_STOP_MILLISECONDS)
        self._provider.shutdown()


class _OtlpSpan:
    """One span of the SDK."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def trace_parent(self) -> str:
        carrier: dict[str, str] = {}
        _CONTEXT.inject(carrier, trace.set_span_in_context(self._span))
        return carrier.get(_KEY, "")

    def end(self, *, is_well: bool = True, **attributes: Attribute) -> None:
        self._span.set_attributes(_allowed(attributes))
        if not is_well:
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


class _Told(SpanExporter):
    """Says once in the log that a collector does not take anything, and once that it does again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            _log.warning("traces_not_taken", count=len(spans), reason="the collector takes none")
        elif self._fails and not fails:
            _log.info("traces_taken_again", count=len(spans))
        self._fails = fails
        return result

    def shutdown(self) -> None:
        """End."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits."""
        return self._exporter.force_flush(timeout_millis)


def _allowed(attributes: dict[str, Attribute]) -> dict[str, Attribute]:
    """Return what logs may have too, and say it as they do: nothing of a patient gets out."""
    return {
        f"{_PREFIX}{name}": printable(value)
        for name, value in attributes.items()
        if name in ALLOWED and value != ""
    }


def _context_of(trace_parent: str) -> trace.SpanContext:
    return trace.get_current_span(_CONTEXT.extract({_KEY: trace_parent})).get_span_context()


def _nanoseconds(at: datetime) -> int:
    return int(at.replace(microsecond=0).timestamp()) * 1_000_000_000 + at.microsecond * 1_000
