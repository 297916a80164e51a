"""A receiving process does without what decodes pixels: it never looks at one."""

from __future__ import annotations

import sys

DECODERS = ("gdcm", "jpeg_ls", "libjpeg", "numpy", "openjpeg", "PIL", "pylibjpeg", "rle")


def leave_out_decoders() -> None:
    """Let pydicom find no decoder in this process, which saves some 30 MB of memory.

    pydicom loads every decoder that is installed as soon as any part of it is asked for. Where it
    is loaded already there is nothing to save, and nothing is changed.
    """
    if "pydicom" in sys.modules:
        return
    for name in DECODERS:
        if name not in sys.modules:
            sys.modules[name] = None  # type: ignore[assignment]  # importing it fails from now on
