"""Feature extractors as ordered mappings of named stages, one module a family."""
