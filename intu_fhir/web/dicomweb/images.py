"""Which instances a retrieval gives, batch by batch, and which it has to leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from intu_fhir.db.image_files import Image, Place, images_of, study_key
from intu_fhir.db.old_headers import without_row
from intu_fhir.web.context import Site
from intu_fhir.web.dicomweb import asked
from intu_fhir.web.dicomweb.hidden import hidden_uids
from intu_fhir.web.rendering import site_of

BATCH = 200


@dataclass(frozen=True)
class Images:
    """The instances of a place that somebody may see.

    Args:
        hidden: UIDs that are shown to nobody.
    """

    site: Site
    place: Place
    with_held: bool
    hidden: frozenset[str]

    def batches(self) -> Iterator[list[Image]]:
        """Give them, some at a time; no connection is kept between two batches."""
        after = 0
        while True:
            with self.site.database.read() as connection:
                found = images_of(
                    connection, self.place, with_held=self.with_held, after=after, limit=BATCH
                )
            yield [one for one in found if one.sop_instance_uid not in self.hidden]
            if len(found) < BATCH:
                return
            after = found[-1].instance_key

    def __iter__(self) -> Iterator[Image]:
        """Give them one by one."""
        for batch in self.batches():
            yield from batch


@dataclass(frozen=True, slots=True)
class Tally:
    """How many instances there are, and how many of them can be given.

    Args:
        gone: their files were pruned or are damaged.
        refused: the other side does not take their transfer syntax.
    """

    given: int = 0
    gone: int = 0
    refused: int = 0

    def status(self) -> int:
        """Return 200 for everything, 206 for a part (PS3.18 10.4.3.1).

        Raises:
            HTTPException: there is nothing to be given, and why.
        """
        if self.given:
            return 206 if self.gone or self.refused else 200
        if self.refused:
            raise HTTPException(406, "what is stored has none of the accepted transfer syntaxes")
        if self.gone:
            raise HTTPException(410, "the files were pruned, or are not what was received")
        raise HTTPException(404, "nothing of this address is here, or it waits for a decision")

    def warning(self, base: str) -> dict[str, str]:
        """Return the header that says what is left out."""
        reasons = ((self.gone, "pruned or damaged"), (self.refused, "in another transfer syntax"))
        said = [f"{number} instances are left out: {why}" for number, why in reasons if number]
        return {"warning": ", ".join(f"299 {base}: {one}" for one in said)} if said else {}


def images_in(request: Request) -> Images:
    """Return the instances of the place that an address names."""
    site, place = site_of(request), asked.place_of(request)
    with site.database.read() as connection:
        key = study_key(connection, place)
        hidden = hidden_uids(connection, [] if key is None else [key])
    return Images(site, place, asked.may_see_held(request), hidden)


def is_gone(image: Image) -> bool:
    """Say whether a file is known not to be there, or not to be what was received."""
    return image.is_pruned or image.is_damaged


def lost_headers(site: Site, images: Iterable[Image]) -> set[int]:
    """Return the keys of instances whose complete header is neither staged nor in a file."""
    gone = [one.instance_key for one in images if is_gone(one) and one.is_described]
    if not gone:
        return set()
    with site.database.read() as connection:
        return without_row(connection, gone)


def tally(images: Images, takes: Callable[[Image], bool]) -> Tally:
    """Count what can be given."""
    given = gone = refused = 0
    for image in images:
        if is_gone(image):
            gone += 1
        elif takes(image):
            given += 1
        else:
            refused += 1
    return Tally(given, gone, refused)


def the_image(request: Request) -> Image:
    """Return the instance that an address names.

    Raises:
        HTTPException: it is not here, or its file is gone.
    """
    found = next(iter(images_in(request)), None)
    if found is None:
        Tally().status()
    assert found is not None
    Tally(given=int(not is_gone(found)), gone=int(is_gone(found))).status()
    return found
