"""Replay: first what it would do, then it is done, then how it goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from intu_fhir.db.failures import causes, states_of
from intu_fhir.db.replay import ReplayFilter
from intu_fhir.db.reports import find_study
from intu_fhir.model.audit import Action
from intu_fhir.model.work import (
    DEAD,
    DELIVER,
    DELIVERED,
    DONE,
    FILTERED,
    HELD,
    RETRYING,
    RUNNING,
    WAITING,
)
from intu_fhir.pipeline.replay import LEFT_ALONE, ReplaySelection, chosen_rows, replay
from intu_fhir.web.access.roles import Role
from intu_fhir.web.context import Site
from intu_fhir.web.fields import number, one, several
from intu_fhir.web.http.trail import event_of, note
from intu_fhir.web.pages.failures import find_cause, reason_in
from intu_fhir.web.rendering import asker_of, page, site_of
from intu_fhir.web.replays import MOST_WATCHED, Watched
from intu_fhir.web.routes import get, post

MOST_CHOSEN = 1_000
_FIELDS = ("study", "destination", "cause", "choice", "rebuild", "force")
_CHOICE, _CHOSEN = "choice", "chosen"
"""What says that a form puts back what was chosen on its page: never all for want of a key."""

_LEFT_ALONE = {
    LEFT_ALONE[DELIVERED]: "the destination has it; “Send again” beside it sends it once more",
    LEFT_ALONE[DONE]: "the step is done; “Build again” does it once more",
    LEFT_ALONE[HELD]: "it is held; release it under Review",
    LEFT_ALONE[FILTERED]: "it is left out on purpose; “Build again” judges it anew",
}
"""Why a row is not put back, with the buttons of the page instead of options of the command."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a form asks to put back.

    Args:
        act: what it is called on the button.
        what: the same in words.
    """

    selection: ReplaySelection
    act: str
    what: str
    study: str
    back: str


def ask(request: Request) -> Response:
    """Say what would be put back, and ask; or do it, where that was seen."""
    if one(request, _CHOICE) == _CHOSEN and not several(request, "key"):
        return RedirectResponse(
            f"/failures/{quote(one(request, 'cause'), safe='')}?said=choose", 303
        )
    site, wish = site_of(request), _wish(request)
    if one(request, "confirmed") == "yes":
        return _do(request, site, wish)
    would = replay(site.database, site.clock, replace(wish.selection, dry_run=True))
    fields = [(name, one(request, name)) for name in _FIELDS if one(request, name)]
    fields += [("key", key) for key in several(request, "key")]
    return page(
        request,
        "replay.html",
        title="Replay",
        wish=wish,
        would=would,
        left=[(times, _LEFT_ALONE.get(reason, reason)) for reason, times in would.left.items()],
        anything=would.deliveries + would.steps + would.studies,
        fields=fields,
    )


def _wish(request: Request) -> Wish:
    """Read a form.

    Raises:
        HTTPException: it names nothing that is there.
    """
    study, cause = one(request, "study"), one(request, "cause")
    if study:
        return _of_study(request, study)
    if cause:
        return _of_cause(request, cause)
    raise HTTPException(404)


def _of_cause(request: Request, name: str) -> Wish:
    keys = _chosen(request)
    with site_of(request).database.read() as connection:
        cause = find_cause(causes(connection), name)
    if cause is None:
        raise HTTPException(404)
    wanted = ReplayFilter(
        step=cause.step,
        destination=cause.destination if cause.step == DELIVER else None,
        cause=cause.cause,
        states=(DEAD, RETRYING),
        keys=keys,
    )
    place = f"to {cause.destination}" if cause.step == DELIVER else f"in step {cause.step}"
    return Wish(
        ReplaySelection(wanted),
        "Replay",
        f"{'All' if keys is None else 'What was chosen'} that failed {place}: {reason_in(cause)}",
        "",
        f"/failures/{name}",
    )


def _chosen(request: Request) -> tuple[int, ...] | None:
    """Return the keys of what was chosen; None where the form puts back all of a cause.

    Raises:
        HTTPException: a key is none, or there are more than a page can show.
    """
    texts = several(request, "key")
    if one(request, _CHOICE) != _CHOSEN and not texts:
        return None
    keys = tuple(key for key in map(number, texts) if key is not None)
    if not keys or len(keys) != len(texts) or len(keys) > MOST_CHOSEN:
        raise HTTPException(400, "What was chosen cannot be read; load the page and choose again.")
    return keys


def _of_study(request: Request, uid: str) -> Wish:
    with site_of(request).database.read() as connection:
        if find_study(connection, uid) is None:
            raise HTTPException(404)
    destination = one(request, "destination")
    rebuild, force = one(request, "rebuild") == "yes", one(request, "force") == "yes"
    wanted = ReplayFilter(study_instance_uid=uid, destination=destination or None)
    act = "Build again" if rebuild else "Send again" if force else "Replay"
    place = f" at {destination}" if destination else ""
    selection = ReplaySelection(wanted, rebuild=rebuild, force=force and not rebuild)
    return Wish(selection, act, f"{act}{place}: study {uid}", uid, f"/studies/{uid}")


def _do(request: Request, site: Site, wish: Wish) -> Response:
    deliveries, steps = chosen_rows(site.database, wish.selection)
    count = len(deliveries) + len(steps)
    if not count:
        return RedirectResponse(f"{wish.back}?said=nothing", 303)
    action = Action.REBUILT if wish.selection.rebuild else Action.REPLAYED
    event = event_of(request, site, action, study=wish.study, objects=count, reason=wish.what)
    note(site, event)
    replay(site.database, site.clock, wish.selection)
    person = asker_of(request).person
    watched = Watched(
        wish.what,
        person.name if person else "",
        site.clock.now(),
        count,
        deliveries[:MOST_WATCHED],
        steps[:MOST_WATCHED],
        wish.study,
    )
    return RedirectResponse(f"/replays/{site.replays.keep(watched)}", 303)


def progress(request: Request) -> Response:
    """Show how a replay goes on."""
    site = site_of(request)
    watched = site.replays.find(request.path_params["number"])
    if watched is None:
        return page(request, "replay_gone.html", title="Replay", status=404)
    with site.database.read() as connection:
        states = states_of(connection, watched.delivery_keys, watched.work_keys)
    done = states[DELIVERED] + states[DONE]
    return page(
        request,
        "progress.html",
        title="Replay",
        watched=watched,
        done=done,
        ahead=states[WAITING] + states[RUNNING],
        failing=states[RETRYING],
        dead=states[DEAD],
        held=states[HELD],
        is_over=not (states[WAITING] + states[RUNNING] + states[RETRYING]),
    )


ROUTES = (
    post("/replay", Role.OPERATOR, ask),
    get("/replays/{number}", Role.VIEWER, progress),
)
