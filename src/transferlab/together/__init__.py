"""Runs in which a head alone trains, as one batched computation."""
