"""A login at an OpenID provider that is independent of the program: panva's oidc-provider."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import httpx

from tests.support.data import REPOSITORY
from tests.support.databases import sqlite_url
from tests.support.ports import free_port
from tests.support.programs import missing, require
from tests.support.web import serving

_FOLDER = REPOSITORY / "tests" / "validators"
_SECRET = "of tests: alone/+%"
_ACTION = re.compile(r'<form[^>]* action="([^"]+)"')
_PROMPT = re.compile(r'name="prompt" value="([a-z]+)"')


@contextmanager
def _provider(redirect: str) -> Iterator[str]:
    """Run the provider and give its issuer; skips the test without it."""
    node = require("node")
    if not (_FOLDER / "node_modules" / "oidc-provider").is_dir():
        missing("`npm ci --prefix tests/validators`")
    asked = {"client": "intu", "secret": _SECRET, "redirect": redirect, "groups": ["imaging-it"]}
    with subprocess.Popen(
        [node, str(_FOLDER / "identity.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
            yield json.loads(process.stdout.readline())["issuer"]
        finally:
            process.kill()


def _log_in_there(person: httpx.Client, address: str, back: str) -> str:
    """Fill in the provider's own forms, as a browser does, until it sends the person back."""
    answer = person.get(address)
    for _ in range(12):
        location = answer.headers.get("location", "")
        if location.startswith(back):
            return location
        if location:
            answer = person.get(httpx.URL(str(answer.url)).join(location))
            continue
        action, prompt = _ACTION.search(answer.text), _PROMPT.search(answer.text)
        assert action, answer.text[:2_000]
        assert prompt, answer.text[:2_000]
        form = {"prompt": prompt[1], "login": "anna", "password": "any"}
        answer = person.post(unescape(action[1]), data=form)
    raise AssertionError("the provider sends nobody back")


def test_a_person_logs_in_at_a_real_provider(tmp_path: Path) -> None:
    """Discovery, PKCE, code, keys, ID token and userinfo: the person comes in with their role."""
    port = free_port()
    back = f"http://127.0.0.1:{port}/login/oidc/return"
    with _provider(back) as issuer:
        oidc = {
            "issuer": issuer,
            "client_id": "intu",
            "client_secret": _SECRET,
            "redirect_url": back,
            "roles": {"operator": ["imaging-it"]},
        }
        url = sqlite_url(tmp_path / "staging.db")
        with (
            serving(tmp_path, url, web={"port": port, "oidc": oidc}) as served,
            served.client() as client,
            httpx.Client(timeout=30) as person,
        ):
            away = client.get("/login/oidc?next=/studies").headers["location"]
            returned = _log_in_there(person, away, back)
            answer = client.get(returned)
            assert (answer.status_code, answer.headers["location"]) == (303, "/studies"), (
                answer.text
            )
            page = client.get("/studies")
            assert page.status_code == 200
            assert "anna" in page.text
            assert client.get("/sql").status_code == 200
            assert client.get("/audit").status_code == 403
            assert client.get(returned).status_code == 401, "a code is good once"
