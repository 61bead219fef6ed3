"""Source pretraining as an ordinary run: the config of that run, made from the config that needs it."""

from omegaconf import DictConfig, OmegaConf, open_dict

from transferlab import results

STUDY = "pretraining"
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
_ELSEWHERE = ("source", "diagnostics", "cache")


def config_of(config: DictConfig) -> DictConfig:
    """The run that trains this config's backbone on the source's data, from random weights.

    Only the source and the backbone enter it, so all runs of a sweep share it, found by its run id.

    Args:
        config: with `source.pretrain`.

    Returns:
        A whole config for `train.run`.
    """
    # resolved, because in its new place `${source...}` or `${seed}` would point elsewhere
    recipe = results.portable(config)["source"]["pretrain"]
    pretraining = OmegaConf.masked_copy(config, [str(key) for key in config if key not in (*_PARTS, *_ELSEWHERE)])
    with open_dict(pretraining):
        # a recipe from before there was augmentation has none
        pretraining.merge_with({key: recipe[key] for key in _PARTS if key in recipe})
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
