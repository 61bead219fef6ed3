"""Source pretraining as an ordinary run: the config of that run, made from the config that needs it."""

from omegaconf import DictConfig, OmegaConf, open_dict

STUDY = "pretraining"
_AXES = ("task", "target", "strategy", "optimizer", "scheduler", "selection", "seed", "batch_size")


def config_of(config: DictConfig) -> DictConfig:
    """The run that trains this config's backbone on the source's data, from random weights.

    It does not depend on the target or on the strategy, so all runs of a sweep share it, found by its run id.

    Args:
        config: with `source.pretrain`.

    Returns:
        A whole config for `train.run`.
    """
    recipe = config.source.pretrain
    # resolved here, because in its new place `${source...}` would point to nothing
    plain = OmegaConf.create({key: OmegaConf.to_container(recipe, resolve=False)[key] for key in _AXES})  # type: ignore
    pretraining = OmegaConf.masked_copy(config, [str(key) for key in config if key not in (*_AXES, "source")])
    with open_dict(pretraining):
        pretraining.merge_with(plain)
        pretraining.source = {"weights": None, "data": None, "pretrain": None}
        pretraining.trainer.max_epochs = recipe.max_epochs
        pretraining.study = STUDY
        pretraining.axes = {
            "source": "none",
            "target": config.axes.source,
            "strategy": "scratch",
            "backbone": config.axes.backbone,
        }
    return pretraining
