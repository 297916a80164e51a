"""Logging in with an identity provider: the way there, and the way back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from intu_fhir.model.audit import Action, Outcome
from intu_fhir.settings.web import Web
from intu_fhir.web.access.oidc import LoginRefused, Provider, ProviderUnavailable, Secrets
from intu_fhir.web.access.roles import printable_name, role_of
from intu_fhir.web.access.visits import SealedNote
from intu_fhir.web.context import Site
from intu_fhir.web.http.trail import event_of, note
from intu_fhir.web.pages.login import begin_visit, show_form, where_to
from intu_fhir.web.rendering import site_of
from intu_fhir.web.routes import Route, get

PATIENCE = timedelta(minutes=10)
"""So long a person may take at the provider."""

_log = structlog.get_logger("intu_fhir.web")
_AT_ONCE = threading.BoundedSemaphore(3)
"""A provider that does not answer must not hold all threads that pages are made in."""


def leave(request: Request) -> Response:
    """Send a person to the provider, with what ties the answer to this login in a cookie."""
    site, provider = site_of(request), _provider(request)
    known = Secrets.new()
    next_path = where_to(request.query_params.get("next", "/"))
    try:
        with _turn():
            address = provider.login_address(known)
    except ProviderUnavailable as error:
        return show_form(request, next_path, problem=str(error), status=503)
    answer = RedirectResponse(address, 303)
    sealed = _notes(site).seal(
        {
            "state": known.state,
            "nonce": known.nonce,
            "verifier": known.verifier,
            "next": next_path,
            "at": int(site.clock.now().timestamp()),
        }
    )
    answer.headers.append("set-cookie", _cookie(site, sealed, int(PATIENCE.total_seconds())))
    return answer


def come_back(request: Request) -> Response:
    """Judge what the provider has sent a person back with."""
    site = site_of(request)
    began = _begun(request, site)
    next_path = where_to(str(began.get("next", "/")))
    try:
        with _turn():
            answer = _judge(request, site, began, next_path)
    except LoginRefused as error:
        answer = _refuse(request, site, next_path, str(error))
    except ProviderUnavailable as error:
        answer = show_form(request, next_path, problem=str(error), status=503)
    answer.headers.append("set-cookie", _cookie(site, "", 0))
    return answer


def _judge(request: Request, site: Site, began: Mapping[str, Any], next_path: str) -> Response:
    """Begin a visit for who has logged in, where they have a role here.

    Raises:
        LoginRefused: it proves nobody.
        ProviderUnavailable: the provider does not answer.
    """
    assert site.web.oidc is not None
    given = request.query_params
    if not began or given.get("state") != began["state"]:
        raise LoginRefused("it belongs to no login that was begun here in the last ten minutes")
    if given.get("iss", site.web.oidc.issuer) != site.web.oidc.issuer:
        raise LoginRefused("another provider has sent it (iss)")
    if "code" not in given:
        raise LoginRefused(f"the provider says {printable_name(given.get('error', 'nothing'))}")
    known = Secrets(began["state"], began["nonce"], began["verifier"])
    claims = _provider(request).redeem(given["code"], known)
    name = printable_name(claims.name)
    role = role_of(claims.groups, site.web.oidc.roles)
    if role is None or not name:
        note(site, event_of(request, site, Action.SIGNED_IN, outcome=Outcome.MINOR, actor=name))
        problem = "You have logged in, but none of your groups has a role here. Ask for one."
        return show_form(request, next_path, problem=problem, status=403)
    begin_visit(request, site, name, role, "oidc")
    return RedirectResponse(next_path, 303)


def _refuse(request: Request, site: Site, next_path: str, why: str) -> Response:
    _log.warning("web_login_refused", detail=why)
    note(
        site,
        event_of(request, site, Action.SIGNED_IN, outcome=Outcome.MINOR, reason=f"oidc: {why}"),
    )
    problem = f"The login did not work: {why}. Begin it again."
    return show_form(request, next_path, problem=problem, status=401)


@contextmanager
def _turn() -> Iterator[None]:
    if not _AT_ONCE.acquire(timeout=1.0):
        raise ProviderUnavailable("Many log in at this moment; try again in some seconds")
    try:
        yield
    finally:
        _AT_ONCE.release()


def _provider(request: Request) -> Provider:
    provider = site_of(request).provider
    assert provider is not None
    return provider


def _notes(site: Site) -> SealedNote:
    return SealedNote(site.web.session_secret or site.secret, "oidc")


def _cookie_name(site: Site) -> str:
    return f"{site.cookie}-login"


def _begun(request: Request, site: Site) -> Mapping[str, Any]:
    """Return the login that was begun in this browser; nothing where there is none, or too old."""
    began = _notes(site).open(request.cookies.get(_cookie_name(site), "")) or {}
    age = site.clock.now().timestamp() - began.get("at", 0)
    return began if 0 <= age <= PATIENCE.total_seconds() else {}


def _cookie(site: Site, value: str, seconds: int) -> str:
    """Return the Set-Cookie header; Lax, since the way back comes from another site."""
    cookie: SimpleCookie = SimpleCookie()
    name = _cookie_name(site)
    cookie[name] = value
    one = cookie[name]
    one["path"], one["httponly"], one["samesite"], one["max-age"] = "/", True, "Lax", seconds
    if site.is_https:
        one["secure"] = True
    return cookie.output(header="").strip()


def routes(web: Web) -> tuple[Route, ...]:
    """Return the routes, where a provider is configured."""
    if web.oidc is None:
        return ()
    return (get("/login/oidc", None, leave), get("/login/oidc/return", None, come_back))
