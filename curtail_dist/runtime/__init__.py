"""A site's part in a run: carries out what the protocol asks for."""
