"""``python -m tools.sbom FILE``: the bill of materials of what is installed here (CycloneDX, JSON).

It names the program and what it needs to run, with the extras; not what its development needs.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parent.parent
EXTRAS = ("otel", "parquet", "s3")


def parts(name: str = "intu-fhir", extras: tuple[str, ...] = EXTRAS) -> dict[str, str]:
    """Return what a package needs, in turn, with the versions that are installed."""
    found: dict[str, str] = {}
    waiting = [(name, extras)]
    while waiting:
        name, extras = waiting.pop()
        for text in distribution(name).requires or ():
            needed = Requirement(text)
            key = canonicalize_name(needed.name)
            is_asked = needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)
            )
            if key in found or not is_asked:
                continue
            try:
                found[key] = distribution(key).version
            except PackageNotFoundError:
                continue  # of an extra that is not installed here
            waiting.append((key, tuple(needed.extras)))
    return found


def main(file: str) -> None:
    """Write the bill."""
    lines = "\n".join(f"{name}=={version}" for name, version in sorted(parts().items()))
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "-"]
    options = ["--pyproject", str(REPOSITORY / "pyproject.toml"), "--output-reproducible"]
    output = ["--output-format", "JSON", "--output-file", str(Path(file).absolute())]
    subprocess.run(  # noqa: S603  (our own arguments)
        [*command, *options, *output], input=lines, text=True, check=True
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
