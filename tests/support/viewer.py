"""OHIF as it is built (``tests/viewers``), served to a real browser from a host of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.data import REPOSITORY
from tests.support.programs import missing

_BUILT = REPOSITORY / "tests" / "viewers" / "node_modules" / "@ohif" / "app" / "dist"
_SOURCE = "@ohif/extension-default.dataSourcesModule.dicomweb"

SOFTWARE_GRAPHICS = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
"""What Chromium needs to draw by WebGL on a machine without a graphics card."""


def configuration(url: str) -> str:
    """Return OHIF's ``app-config.js``, as the how-to shows it, with the parts around it."""
    service = {
        "friendlyName": "intu_fhir",
        "qidoRoot": url,
        "wadoRoot": url,
        "qidoSupportsIncludeField": True,
        "imageRendering": "wadors",
        "thumbnailRendering": "thumbnailDirect",
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
    }
    whole: dict[str, Any] = {
        "routerBasename": "/",
        "extensions": [],
        "modes": [],
        "showStudyList": True,
        "maxNumberOfWebWorkers": 1,
        "investigationalUseDialog": {"option": "never"},
        "dataSources": [{"namespace": _SOURCE, "sourceName": "intu", "configuration": service}],
        "defaultDataSourceName": "intu",
    }
    return f"window.config = {json.dumps(whole)};"


class _Pages(SimpleHTTPRequestHandler):
    """The built pages; every address that is no file is the page itself."""

    def __init__(self, *args: Any, configured: str, **options: Any) -> None:
        self._configured = configured.encode()
        super().__init__(*args, directory=str(_BUILT), **options)

    def do_GET(self) -> None:
        """Answer one request."""
        path = self.path.partition("?")[0]
        if path == "/app-config.js":
            self.send_response(200)
            self.send_header("content-type", "text/javascript")
            self.send_header("content-length", str(len(self._configured)))
            self.end_headers()
            self.wfile.write(self._configured)
            return
        if not (_BUILT / path.lstrip("/")).is_file():
            self.path = "/index.html"
        super().do_GET()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def require_viewer() -> None:
    """Skip the test where the viewer is not installed."""
    if not (_BUILT / "index.html").is_file():
        missing("`npm ci --prefix tests/viewers`")


@contextmanager
def viewer(port: int, url: str) -> Iterator[str]:
    """Serve the viewer for a DICOMweb service, and give its address."""
    pages = partial(_Pages, configured=configuration(url))
    server = ThreadingHTTPServer(("127.0.0.1", port), pages)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
