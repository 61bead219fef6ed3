"""Hydra finds plug-ins in the namespace `hydra_plugins`; this one is `hydra/sweeper=optuna`."""
