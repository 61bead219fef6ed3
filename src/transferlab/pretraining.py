"""Source pretraining as an ordinary run: the config of that run, made from the config that needs it."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from transferlab import results
from transferlab.errors import InputError

STUDY = results.PRETRAINING
_PARTS = (
    "task",
    "target",
    "augmentation",
    "strategy",
    "optimizer",
    "scheduler",
    "selection",
    "trainer",
    "seed",
    "batch_size",
)

# of the run that needs the source; who watches that one, and what it keeps, is no part of the source's id
_ELSEWHERE = ("source", "diagnostics", "cache", "rules")


def starts_from_source(config: DictConfig, start: str) -> bool:
    """Whether a run's net starts from a source's.

    Args:
        config: of the run.
        start: its strategy's.
    """
    return start == "source" and (config.source.weights or config.source.pretrain) is not None


def config_of(config: DictConfig, written: Mapping[str, Any] | None = None) -> DictConfig:
    """The run that trains this config's backbone on the source's data, from random weights.

    Only the source and the backbone enter it, so all runs of a sweep share it, found by its run id.

    Args:
        config: with `source.pretrain`.
        written: the same as `results.written` gives it, where that is known.

    Returns:
        A whole config for `train.run`.
    """
    # resolved, because in its new place `${source...}` or `${seed}` would point elsewhere
    recipe = (written or results.written(config))["source"]["pretrain"]
    pretraining = OmegaConf.masked_copy(config, [str(key) for key in config if key not in (*_PARTS, *_ELSEWHERE)])
    with open_dict(pretraining):
        # a recipe from before there was augmentation has none
        for key in (key for key in _PARTS if key in recipe):
            pretraining[key] = recipe[key]
        pretraining.source = {"weights": None, "data": None, "pretrain": None}
        pretraining.study = STUDY
        pretraining.oracle = False
        pretraining.axes = {
            "source": "none",
            "target": config.axes.source,
            "strategy": "scratch",
            "backbone": config.axes.backbone,
        }
    return pretraining


def checked(config: DictConfig, written: Mapping[str, Any]) -> DictConfig:
    """As `config_of`, once it is known that the source's own run and this one go together.

    Raises:
        InputError: the source would see the target's test samples, or keeps no whole backbone.
    """
    found = config_of(config, written)
    if _set(found) == _set(config) and found.target.test != config.target.test:
        raise InputError(
            f"source and target are one set: source.pretrain.target.test={found.target.test} must be target.test="
            f"{config.target.test}, or the source would see test samples"
        )
    if (adapter := found.strategy.get("adapter")) is not None and adapter.save == "alone":
        raise InputError(
            "source.pretrain.strategy.adapter.save=alone: the source's own run must keep a whole backbone: merged"
        )
    return found


def _set(config: DictConfig) -> tuple[Any, ...]:
    """What tells a data set from others, however it is preprocessed, with prompts or without."""
    data = config.target.data
    while "of" in data and "data" in data.of:  # a set made of one other, not of several
        data = data.of.data
    return tuple(data.get(key) for key in ("_target_", "name", "root", "path"))
