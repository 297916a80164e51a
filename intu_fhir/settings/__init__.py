"""The configuration of a site: one root file, one file per channel."""
