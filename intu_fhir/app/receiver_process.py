"""One more receiving process: ``python -m intu_fhir.app.receiver_process``."""

from __future__ import annotations

import sys

from intu_fhir.receive.lean import leave_out_decoders


def main() -> int:
    """Receive as the arguments say; see ``receiving.main``."""
    leave_out_decoders()
    # Imported here, since pydicom would load its decoders.
    from intu_fhir.app.receiving import receive

    return receive(*sys.argv[1:])


if __name__ == "__main__":
    if not __debug__:
        sys.stderr.write("start it without -O, which leaves out its checks\n")
        sys.exit(2)
    sys.exit(main())
