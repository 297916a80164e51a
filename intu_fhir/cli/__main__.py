"""``python -m intu_fhir.cli``."""

from intu_fhir.cli.main import main

main()
