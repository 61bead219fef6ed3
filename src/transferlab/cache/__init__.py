"""Activations of frozen stages, computed once and shared by every run: a store of rows, and what is worth storing."""
