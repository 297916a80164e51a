"""A whole site in one process: stand-in EHR, stand-in PACS, real sample studies."""
