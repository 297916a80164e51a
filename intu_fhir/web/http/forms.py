"""Whether a request that changes something was meant by who seems to send it."""

from __future__ import annotations

from starlette.requests import Request

from intu_fhir.web.access.hosts import is_same_origin
from intu_fhir.web.context import Site

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
TOKEN_FIELD, TOKEN_HEADER = "form_token", "x-form-token"
_NOT_A_FORM = ("application/json", "application/fhir+json", "application/dicom+json")


def objection(request: Request, site: Site, fields: dict[str, list[str]]) -> str:
    """Say what is wrong with an unsafe request; empty = nothing.

    A token of the API proves itself. Else the page has to be ours (Origin, Sec-Fetch-Site), and
    the request has to carry the token of the visit, or be of a kind that a foreign page can send
    only after a preflight, which we never answer.
    """
    if request.method in SAFE:
        return ""
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    if origin is not None and not is_same_origin(origin, host, site.web):
        return "it comes from another site"
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return "it comes from another site"
    visit = request.state.asker.visit
    if visit is None:
        return ""
    token = request.headers.get(TOKEN_HEADER) or _first(fields, TOKEN_FIELD)
    if token:
        is_ours = site.visits.is_form_token(visit.id, token)
        return "" if is_ours else "its page is too old; load the page again"
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return "" if kind in _NOT_A_FORM else "it carries no token of a page of ours"


def _first(fields: dict[str, list[str]], name: str) -> str:
    return next(iter(fields.get(name, ())), "")
