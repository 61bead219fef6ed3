"""A head on frozen features: what it sees of a run's data, and how it is solved for."""
