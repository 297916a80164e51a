"""The part of the DICOM conformance statement on web services (PS3.2 annex N.5.3.2)."""

from __future__ import annotations

from collections.abc import Iterator

from intu_fhir.db.image_query import Level, keys_of
from intu_fhir.settings.dicomweb import DicomWeb
from intu_fhir.web.dicomweb.media import STORED_AS
from intu_fhir.web.dicomweb.parameters import MAX_OFFSET
from tools.docs.markdown import code, table

_SERVICE = """\
Origin server for the Studies Service (PS3.18 10), read side: Search (QIDO-RS) and Retrieve
(WADO-RS) over HTTP/1.1, beside the web page of `serve`. There is no Store, no UPS-RS and no
WADO-URI."""

_SEARCH = """\
Search answers in `application/dicom+json` alone. Attributes are named by keyword or tag.
Responses have the attributes of Tables 10.6.3-3 to 10.6.3-5 that are staged, and those that
`includefield` asks for at their level; `all` is supported. Matching is literal:
`fuzzymatching=true` is answered with the Warning of 8.3.4.2. Names match without regard to case,
as a whole, by their first component group or with wildcards. Keys that are attributes and not in
this table are left out of account and named in the Warning header. Other parameters are ignored and
counted there (8.3). `charset` may ask for `utf-8` (8.3.3.2)."""

_MATCHING = {
    "text": "single value, wildcard",
    "name": "single value, wildcard",
    "number": "single value",
    "date": "single value, range",
    "time": "single value, range",
    "uid": "single value, list",
}

_RETRIEVE = """\
Instances are given in the transfer syntax in which they are stored, named in each part, and no
other; a request that accepts neither it nor `*` is answered 406. Without a transfer syntax
parameter the stored one is given, which differs from 8.7.3. Implicit VR Little Endian and
Explicit VR Big Endian occur where instances were stored so. A study or series of which a part
cannot be given is answered 206 with a Warning."""

_RESOURCES = (
    ("study, series, instance", '`multipart/related; type="application/dicom"`, stored syntax'),
    ("single instance", "also `application/dicom`"),
    ("metadata of each", "`application/dicom+json`, bulk data by URI"),
    ("bulk data", "`application/octet-stream`, alone or in `multipart/related`"),
    ("frames", "`application/octet-stream` uncompressed, or compressed as stored (below)"),
    ("rendered instance and frame", "`image/jpeg`, `image/png`; `window`, `viewport`, `quality`"),
    ("thumbnail of study, series, instance, frame", "`image/jpeg`, `image/png`"),
)


def dicomweb() -> Iterator[str]:
    """Give the parts of the section."""
    yield "### 2.5 Web services"
    yield _SERVICE
    yield "#### Search"
    yield _SEARCH
    yield table(("Attribute", "Level", "Matching"), list(_keys()))
    most = DicomWeb.model_fields["max_results"].default
    yield (
        f"`limit` is at most {most} ({code('web.dicomweb.max_results')}), `offset` at most "
        f"{MAX_OFFSET}."
    )
    yield "#### Retrieve"
    yield _RETRIEVE
    yield table(("Resource", "Media types"), list(_RESOURCES))
    yield "Compressed frames:"
    yield table(("Transfer syntax", "Media type"), [(code(k), v) for k, v in STORED_AS.items()])


def _keys() -> Iterator[tuple[str, str, str]]:
    seen: set[str] = set()
    levels: tuple[Level, ...] = ("study", "series", "instance")
    for level in levels:
        for keyword, kind in sorted(keys_of(level).items()):
            if keyword not in seen:
                seen.add(keyword)
                yield keyword, level, _MATCHING[kind]
