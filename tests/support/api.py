"""The API of a running site, asked with a token of each role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from intu_fhir.web.access.roles import Role
from tests.support.running import Running
from tests.support.web import Served, give_token

V1 = "/api/v1"


@dataclass
class Api:
    """A running site, its page, and the header that brings a token of each role."""

    running: Running
    served: Served
    tokens: Mapping[Role, dict[str, str]]

    @contextmanager
    def client(self, role: Role = Role.ADMINISTRATOR) -> Iterator[httpx.Client]:
        """Give a program that comes with a token."""
        with httpx.Client(
            base_url=f"{self.served.url}{V1}", headers=self.tokens[role], timeout=30
        ) as client:
            yield client

    def get(self, path: str, **query: Any) -> Any:
        """Return what a path answers, which has to be there."""
        with self.client() as client:
            answer = client.get(path, params=query)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def post(
        self, path: str, body: Any = None, *, status: int = 200, role: Role = Role.OPERATOR
    ) -> Any:
        """Send a body and return what is answered, with a status that it has to have."""
        with self.client(role) as client:
            answer = client.post(path, json=body) if body is not None else client.post(path)
        assert answer.status_code == status, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()


def give_tokens(served: Served) -> dict[Role, dict[str, str]]:
    """Give out a token of each role, named as the role."""
    return {role: give_token(served, role.word, role) for role in Role}
