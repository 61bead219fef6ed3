"""Frozen stages are passed once: later batches enter the net behind them, with activations from the cache."""
