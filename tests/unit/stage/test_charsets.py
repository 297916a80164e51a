"""Text by Specific Character Set; the examples are those of PS3.5 annexes H to K."""

from __future__ import annotations

import warnings

import pytest
from pydicom.charset import python_encoding

from intu_fhir.stage.charsets import REPLACEMENT, charset_of, decode


def _decoded(declared: str, raw: bytes, *, name: bool = True) -> str:
    text, good = decode(raw, charset_of(declared), name=name)
    assert good
    return text


@pytest.mark.parametrize(
    ("declared", "raw", "expected"),
    [
        ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        ("ISO_IR 101", b"W\xb3adys\xb3aw", "Władysław"),
        ("ISO_IR 144", bytes.fromhex("bbeece65dcce"), None),
        ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
        ("ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
        ("ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
        ("ISO_IR 166", b"\xb9\xd2\xc1", "นาม"),
        ("ISO_IR 192", "Wang^王^小東".encode(), "Wang^王^小東"),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
        ("GBK", "王^小东".encode("gbk"), "王^小东"),
        (
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            "ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
        ),
        (
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        (
            "\\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
            "Zhang^XiaoDong=张^小东=",
        ),
        ("ISO 2022 IR 100\\ISO 2022 IR 126", b"J\xe9^\x1b-F\xc4\xe9", "Jé^Δι"),
    ],
)
def test_names_of_the_world_are_decoded(declared: str, raw: bytes, expected: str | None) -> None:
    """Single byte, multi byte and code extension sets give the letters that were meant."""
    if expected is None:
        expected = raw.decode("iso8859_5")
    assert _decoded(declared, raw) == expected


def test_a_delimiter_brings_the_first_set_back() -> None:
    """After ^ a Greek designation no longer holds, within text it holds up to a line end."""
    declared = "ISO 2022 IR 100\\ISO 2022 IR 126"
    assert _decoded(declared, b"\x1b-F\xe1^\xe1") == "α^á"
    assert _decoded(declared, b"\x1b-F\xe1^\xe1\r\n\xe1", name=False) == "α^α\r\ná"


def test_a_backslash_byte_inside_a_letter_is_no_backslash() -> None:
    """The second byte of a Chinese or Japanese letter is never taken for a separator."""
    assert "\\" not in _decoded("GB18030", "誠".encode("gb18030"))
    assert "\\" not in _decoded("\\ISO 2022 IR 87", b"\x1b$B%\\\x1b(B")


@pytest.mark.parametrize("term", sorted(t for t in python_encoding if t and "58" not in t))
def test_every_defined_term_is_known(term: str) -> None:
    """Each defined term that a general reader knows has a codec here."""
    assert not charset_of(term).unknown


@pytest.mark.parametrize("term", ["ISO-IR 100", "iso_ir 100", "ISO IR 100", "ISO_IR_100 "])
def test_common_misspellings_are_understood(term: str) -> None:
    """A hyphen, a blank or small letters in a term change nothing."""
    assert _decoded(term, b"\xe9") == "é"
    assert _decoded("UTF-8", "é".encode()) == "é"


def test_an_unknown_term_keeps_ascii_and_marks_the_rest() -> None:
    """Letters of an unknown set are replaced, never guessed."""
    charset = charset_of("KLINGON")
    assert charset.unknown == "KLINGON"
    assert decode(b"A\xe9", charset) == (f"A{REPLACEMENT}", False)
    assert decode(b"plain", charset) == ("plain", True)


def test_letters_without_a_declared_set_are_read_as_latin_and_noted() -> None:
    """Bytes beyond ASCII without any declaration decode as Latin-1 and are not called good."""
    assert decode(b"M\xfcller", charset_of("")) == ("Müller", False)


@pytest.mark.parametrize(
    ("declared", "raw"),
    [
        ("ISO_IR 192", b"A\xff"),
        ("ISO_IR 192", b"\xed\xa0\x80"),
        ("\\ISO 2022 IR 87", b"\x1b$B;"),
        ("\\ISO 2022 IR 87", b"\x1b$Z;3"),
        ("\\ISO 2022 IR 149", b"\x1b$)C\xfb"),
        ("", b"A\0B"),
        ("ISO_IR 192", b"\x1bA\xff"),
    ],
)
def test_what_cannot_be_decoded_is_replaced_and_noted(declared: str, raw: bytes) -> None:
    """Damaged text neither raises nor warns, and is marked."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text, good = decode(raw, charset_of(declared))
    assert not good
    assert REPLACEMENT in text
    text.encode("utf-8")


def test_a_hostile_term_is_kept_short_and_printable() -> None:
    """What is kept of an unknown term has no control characters and no length."""
    unknown = charset_of("\x1b[31m" + "X" * 500).unknown
    assert len(unknown) <= 32
    assert unknown.isprintable()


@pytest.mark.parametrize("declared", ["", "ISO_IR 100", "\\ISO 2022 IR 87", "KLINGON"])
def test_what_the_site_knows_of_a_sender_wins_over_what_it_declares(declared: str) -> None:
    """Text of a sender that is known to write UTF-8 is read as UTF-8, whatever it declares."""
    assert decode("Müller^王".encode(), charset_of(declared, "ISO_IR 192")) == ("Müller^王", True)


def test_text_that_does_not_fit_what_the_site_knows_is_read_as_declared() -> None:
    """A device behind the same AE title that declares rightly is still read rightly."""
    assert decode(b"M\xfcller", charset_of("ISO_IR 100", "ISO_IR 192")) == ("Müller", True)
    japanese = b"Yamada^Tarou=\x1b$B;3ED\x1b(B"
    read = decode(japanese, charset_of("\\ISO 2022 IR 87", "ISO_IR 192"), name=True)
    assert read == ("Yamada^Tarou=山田", True)
