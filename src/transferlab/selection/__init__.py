"""Selection rules: which epoch of a run is reported."""
