"""Losses that read a source and a target without labels: domain adaptation."""
