"""Refusals: problem details (RFC 9457) for programs, plain text for everybody else."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

INTERFACES = ("/api", "/dicom-web")
"""What programs call: they are answered in JSON and never led to a page."""

MEDIA_TYPE = "application/problem+json"


class ProblemResponse(JSONResponse):
    """A problem as RFC 9457 writes it."""

    media_type = MEDIA_TYPE


def is_interface(path: str) -> bool:
    """Say whether an address is one that programs call."""
    return any(path == one or path.startswith(f"{one}/") for one in INTERFACES)


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """Return the answer; ``detail`` says what happened and what to do, without patient data."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    return ProblemResponse(body, status, headers)


def refusal(
    path: str, status: int, sentence: str, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer to a request that reaches no route."""
    if is_interface(path):
        return problem(status, sentence, headers=headers)
    return PlainTextResponse(f"{sentence}\n", status, headers)
