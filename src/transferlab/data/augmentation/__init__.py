"""Training samples that look different in every epoch: one module a kind of data, and what mixes samples of a batch."""
