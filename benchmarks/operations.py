"""Counted operations of a training on photographs: those that a way does, and those that have to be done."""

import argparse
from functools import cache

import photographs


def of_step(net, side: int) -> int:
    """Forward and backward of a training image, with what trains now."""
    from torch.nn.functional import cross_entropy

    images, labels = _two(side)
    return _counted(lambda: cross_entropy(net(images), labels).backward()) // 2


def of_pass(net, side: int) -> int:
    """Forward of an image."""
    import torch

    with torch.no_grad():
        return _counted(lambda: net(_two(side)[0])) // 2


def of_training(steps: list[int], forward: int, sizes: list[int]) -> int:
    """A way that computes everything anew.

    Args:
        steps: operations of a training image in each epoch.
        forward: of an image that is scored.
        sizes: how many are trained on, and how many scored after each epoch.
    """
    train, scored = sizes
    return train * sum(steps) + scored * forward * len(steps)


def of_run(args: argparse.Namespace, record: dict, again: bool = False) -> int:
    """What a run cannot do without: all that lies behind its frozen first stages, and these once an image.

    Args:
        args: the photographs and the net.
        record: of the run; its `cost.flops` are those of the training's steps with nothing kept.
        again: the frozen stages' part is there already.
    """
    before = dict(_before(args.net, args.side))
    head = 2 * before.pop("features") * len(record["data"]["classes"])
    train, scored = (record["data"]["sizes"][part] for part in ("train", "test"))
    frozen = [before[row["trainable"][0]] for row in record["history"]]
    passes = scored * sum(before["head"] + head - one for one in frozen)
    behind = record["cost"]["flops"] - train * sum(frozen) + passes
    return behind if again else behind + (train + scored) * max(frozen)


def of_features(args: argparse.Namespace, seeds) -> int:
    """The features of every image that runs of several seeds see, once each."""
    cuts = [photographs.parts(args, seed) for seed in seeds]
    seen = [part for cut in cuts for part in (cut.train, cut.test)]
    return (
        len({part.place(index) for part in seen for index in range(len(part))}) * _before(args.net, args.side)["head"]
    )


@cache
def _before(name: str, side: int) -> dict[str, int]:
    """Operations of an image before each stage that can train; and how many features there are."""
    import torch

    net = photographs.chain(argparse.Namespace(net=name, side=side)).eval()
    images, _ = _two(side)
    with torch.no_grad():
        found = {stage: _counted(lambda stage=stage: net(images, stop=stage)) // 2 for stage in net.parametric}
        return found | {"head": _counted(lambda: net(images)) // 2, "features": net.features}


def _two(side: int):
    import torch

    return torch.zeros(2, 3, side, side), torch.zeros(2, dtype=torch.long)


def _counted(function) -> int:
    from transferlab.flops import operations

    return operations(function)[1]
