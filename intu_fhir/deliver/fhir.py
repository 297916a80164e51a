"""Delivery of a study to a FHIR server."""

from __future__ import annotations

from collections.abc import Callable

from intu_fhir.deliver.publication import Publication
from intu_fhir.deliver.publish import Publisher
from intu_fhir.deliver.server import FhirServer
from intu_fhir.model.outcome import DeliveryOutcome

__all__ = ["FhirClient", "Publication"]


class FhirClient(FhirServer):
    """A FHIR server that studies are published at; any number of threads may share it."""

    def publish(
        self, publication: Publication, keep_going: Callable[[], bool] = lambda: True
    ) -> DeliveryOutcome:
        """Bring a study's resource to the server: one resource, whatever happens on the way.

        Sends nothing where the server has this very content already.

        Args:
            keep_going: says whether the study is still ours to send; asked before each write.
        """
        return Publisher(self, publication, keep_going).run()
