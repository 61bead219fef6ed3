"""Hydra finds plug-ins in the namespace `hydra_plugins`; these are `hydra/sweeper=optuna` and `halving`."""
