"""A space file: read, turned into domains, checked."""
