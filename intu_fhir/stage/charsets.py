"""Decodes text by Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1); never raises."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""Stands for what cannot be decoded; a value that holds it is not published."""

# PS3.3 tables C.12-2 to C.12-5, by the number of the registration, as Python codecs.
_CODECS = {
    "6": "latin_1",
    "13": "shift_jis",
    "58": "gb2312",
    "87": "iso2022_jp",
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "euc_kr",
    "159": "iso2022_jp_2",
    "166": "tis_620",
    "192": "utf_8",
    "203": "iso8859_15",
}
_NAMED = {"GB18030": "gb18030", "GBK": "gbk", "UTF8": "utf_8"}
_ALONE = frozenset({"utf_8", "gb18030", "gbk"})

# PS3.3 tables C.12-3 and C.12-4. G0 sets of two bytes keep their escape sequence, since
# Python's codec wants it; what is designated to G1 is a codec of its own, ASCII included.
_G0 = {
    b"(B": "",
    b"(J": "",
    b"$B": "iso2022_jp",
    b"$@": "iso2022_jp",
    b"$(D": "iso2022_jp_2",
}
_G1 = {
    b")I": "shift_jis",
    b"-A": "latin_1",
    b"-B": "iso8859_2",
    b"-C": "iso8859_3",
    b"-D": "iso8859_4",
    b"-F": "iso8859_7",
    b"-G": "iso8859_6",
    b"-H": "iso8859_8",
    b"-L": "iso8859_5",
    b"-M": "iso8859_9",
    b"-T": "tis_620",
    b"-b": "iso8859_15",
    b"$)A": "gb2312",
    b"$)C": "euc_kr",
}
_ESCAPE = re.compile(rb"\x1b(\$?[()\-]?[@-Zb])")
# PS3.5 6.1.2.5.3: these bring the first set back.
_RESETS = re.compile(rb"([\\\r\n\t\f])")
_RESETS_IN_NAMES = re.compile(rb"([\\^=])")


@dataclass(frozen=True, slots=True)
class Charset:
    """How the text of one data set or item is encoded.

    Args:
        codec: of the first value of Specific Character Set.
        alone: code extensions (ISO 2022) are not allowed beside it.
        unknown: terms that the standard does not define, or ``""``.
        declared: there was a value at all.
        really: codec that the site knows the sender to use, whatever it declares; text that is
            not valid in it is read as declared.
    """

    codec: str = "latin_1"
    alone: bool = False
    unknown: str = ""
    declared: bool = False
    really: str = ""


UNDECLARED = Charset()


@lru_cache(maxsize=256)
def charset_of(declared: str, really: str = "") -> Charset:
    """Return the character set for a raw value of Specific Character Set (0008,0005).

    Common misspellings, such as ``ISO-IR 100`` or ``UTF-8``, are understood.

    Args:
        really: term of the set that the site knows the sender to use, or nothing.
    """
    codec = _codec(really) if really else ""
    terms = [term.strip(" \0") for term in declared.split("\\")]
    if not any(terms):
        return replace(UNDECLARED, really=codec) if codec else UNDECLARED
    codecs = [_codec(term) for term in terms]
    unknown = next((t for t, codec in zip(terms, codecs, strict=True) if not codec), "")
    # Unknown terms leave ASCII: a guess would put wrong letters into a name.
    first = codecs[0] or "ascii"
    shown = re.sub(r"[^ -~]", "?", unknown[:32])
    return Charset(first, first in _ALONE, shown, declared=True, really=codec)


def _codec(term: str) -> str:
    if not term:
        return "latin_1"
    plain = re.sub(r"[-_ ]", "", term.upper())
    if plain in _NAMED:
        return _NAMED[plain]
    number = re.fullmatch(r"ISO(?:2022)?(?:IR)?(\w+)", plain)
    found = number and (_CODECS.get(number[1]) or _NAMED.get(number[1]))
    return found or ""


def decode(raw: bytes, charset: Charset, *, name: bool = False) -> tuple[str, bool]:
    """Return text and whether every byte of it made sense.

    What cannot be decoded becomes ``REPLACEMENT``; so do NUL characters, which no database
    column takes and which would otherwise join two halves of a damaged value.

    Args:
        name: the value is a person name, whose groups and components decode by themselves.
    """
    if raw.isascii() and (plain := raw.decode("ascii")).isprintable():
        return plain, True
    if charset.really and b"\x1b" not in raw:
        text, good = _decode_with(charset.really, raw)
        if good and "\0" not in text:
            return text, True
    if b"\x1b" in raw and not charset.alone:
        text, good = _decode_extended(raw, charset, _RESETS_IN_NAMES if name else _RESETS)
    else:
        text, good = _decode_with(charset.codec, raw)
        good = good and (charset.declared or raw.isascii())
    if "\0" in text:
        return text.replace("\0", REPLACEMENT), False
    return text, good


def _decode_with(codec: str, raw: bytes) -> tuple[str, bool]:
    try:
        return raw.decode(codec), True
    except UnicodeDecodeError:
        return raw.decode(codec, "replace"), False


def _decode_extended(raw: bytes, charset: Charset, resets: re.Pattern[bytes]) -> tuple[str, bool]:
    """Decode text that changes its character set on the way (ISO 2022)."""
    first, *rest = _ESCAPE.split(raw)
    pieces = [_decode_with(charset.codec, first)]
    g0, g1 = b"", charset.codec
    for escape, piece in zip(rest[::2], rest[1::2], strict=True):
        if escape in _G0:
            g0 = escape if _G0[escape] else b""
        elif escape in _G1:
            g1 = _G1[escape]
        else:
            pieces.append((REPLACEMENT, False))
        if g0:
            pieces.append(_decode_with(_G0[g0], b"\x1b" + g0 + piece))
            continue
        start, *after_reset = resets.split(piece, maxsplit=1)
        pieces.append(_decode_with(g1, start))
        if after_reset:
            g1 = charset.codec
            pieces.append(_decode_with(g1, b"".join(after_reset)))
    return "".join(text for text, _ in pieces), all(good for _, good in pieces)
