"""FHIR resources with all their versions: a file each, so that they can be looked at."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import orjson

Resource: TypeAlias = dict[str, Any]


@dataclass
class _History:
    """The versions of one resource, the oldest first; None marks a deletion."""

    versions: list[Resource | None] = field(default_factory=list)


class FhirStore:
    """Keeps resources by type and id below a folder: ``Type/id/version.json``.

    Guard a step of several calls with ``lock``; it may be taken again by its holder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._histories: dict[tuple[str, str], _History] = {}
        self._by_value: dict[tuple[str, str], dict[str, None]] = {}
        for path in sorted(folder.glob("*/*/*.json"), key=_version_of):
            key = (path.parts[-3], path.parts[-2])
            self._remember(*key, orjson.loads(path.read_bytes()))

    def current(self, resource_type: str, identity: str) -> Resource | None:
        """Return the newest version; None where it never was or is deleted."""
        versions = self.history(resource_type, identity)
        return versions[-1] if versions else None

    def history(self, resource_type: str, identity: str) -> list[Resource | None]:
        """Return all versions, the oldest first; None in place of a deletion."""
        with self.lock:
            found = self._histories.get((resource_type, identity))
            return list(found.versions) if found else []

    def all(self, resource_type: str = "") -> list[Resource]:
        """Return the newest version of every resource that is not deleted."""
        with self.lock:
            newest = [
                history.versions[-1]
                for (kind, _), history in self._histories.items()
                if resource_type in {"", kind}
            ]
        return [resource for resource in newest if resource is not None]

    def find(self, resource_type: str, system: str | None, value: str) -> list[Resource]:
        """Return the resources with this identifier; a system of None means any."""
        with self.lock:
            ids = self._by_value.get((resource_type, value), ())
            found = [self.current(resource_type, identity) for identity in ids]
        return [
            resource
            for resource in found
            if resource is not None
            and any(
                identifier.get("value") == value and system in {None, identifier.get("system", "")}
                for identifier in resource.get("identifier", [])
            )
        ]

    def write(self, resource: Resource, identity: str = "") -> Resource:
        """Write a new version, under a new id where none is given, and return it."""
        identity = identity or str(uuid.uuid4())
        with self.lock:
            number = len(self.history(resource["resourceType"], identity)) + 1
            meta = {
                **resource.get("meta", {}),
                "versionId": str(number),
                "lastUpdated": datetime.now(UTC).isoformat(timespec="milliseconds"),
            }
            version = {**resource, "id": identity, "meta": meta}
            self._append(resource["resourceType"], identity, number, version)
        return version

    def delete(self, resource_type: str, identity: str) -> bool:
        """Delete a resource; False where there is none."""
        with self.lock:
            if self.current(resource_type, identity) is None:
                return False
            number = len(self.history(resource_type, identity)) + 1
            self._append(resource_type, identity, number, None)
        return True

    def _append(
        self, resource_type: str, identity: str, number: int, version: Resource | None
    ) -> None:
        folder = self.folder / resource_type / identity
        folder.mkdir(parents=True, exist_ok=True)
        content = orjson.dumps(version, option=orjson.OPT_INDENT_2)
        (folder / f"{number}.json").write_bytes(content)
        self._remember(resource_type, identity, version)

    def _remember(self, resource_type: str, identity: str, version: Resource | None) -> None:
        self._histories.setdefault((resource_type, identity), _History()).versions.append(version)
        # Values of older versions stay in the index: ``find`` looks at the newest version anyway.
        for identifier in (version or {}).get("identifier", []):
            key = (resource_type, str(identifier.get("value", "")))
            self._by_value.setdefault(key, {})[identity] = None


def _version_of(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else 0
