"""The section ``tracing``: where traces of the work go."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from intu_fhir.settings.base import Seconds, Settings


class TracingSettings(Settings):
    """Traces by OpenTelemetry; off where no endpoint is named. Needs the extra `otel`."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$")] | None = None
    """Where a collector takes OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces."""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    """Headers for the collector; write a secret as `${env:NAME}` or `${file:path}`."""
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Part of the associations that are traced, with all that comes of them."""
    service: Annotated[str, Field(min_length=1)] = "intu-fhir"
    """Name of this site among those that the collector knows."""
    timeout_seconds: Seconds = 10.0
    """Limit for one exchange with the collector, in seconds."""
