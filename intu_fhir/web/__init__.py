"""The web page: what people look at and act on, with the same read models as the command line."""
