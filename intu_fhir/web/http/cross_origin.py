"""Which pages of other sites may read DICOMweb (CORS, in the Fetch standard); all else is ours."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from intu_fhir.settings.dicomweb import DicomWeb


class CrossOrigin:
    """Answers for the addresses of DICOMweb as ``allowed_origins`` says."""

    def __init__(self, app: ASGIApp, *, settings: DicomWeb) -> None:
        self._app, self._below = app, f"{settings.path}/"
        self._shared = CORSMiddleware(
            app,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "HEAD"),
            allow_headers=("Authorization",),
            allow_credentials=True,
            expose_headers=("Warning",),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_shared = scope["type"] == "http" and scope["path"].startswith(self._below)
        await (self._shared if is_shared else self._app)(scope, receive, send)
