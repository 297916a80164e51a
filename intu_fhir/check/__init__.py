"""Whether a site can run."""

from intu_fhir.check.far_sides import check_destination
from intu_fhir.check.row import CheckRow
from intu_fhir.check.site import check

__all__ = ["CheckRow", "check", "check_destination"]
