"""Kinds of problem: each brings a head, a loss and metrics."""
