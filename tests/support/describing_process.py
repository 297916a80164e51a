"""A describer that stands still with work in hand, to be killed: its first argument is a URL."""

from __future__ import annotations

import sys

from intu_fhir.db.describing import describing
from intu_fhir.db.session import Database
from intu_fhir.stage.passing import Passing
from tests.support.clock import START


def main() -> None:
    """Claim what there is, say how much, and wait to be killed."""
    with describing(Database(sys.argv[1])) as claims:
        for keys in Passing().by(claims.connection, "", START):
            if taken := claims.take(keys, 10_000):
                print(len(taken), flush=True)
                break
        sys.stdin.read()


if __name__ == "__main__":
    main()
