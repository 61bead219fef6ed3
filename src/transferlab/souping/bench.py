"""The net and the data of runs that may be averaged, by which weights are scored."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from transferlab import building, feeding, migrations, nodes, results
from transferlab.averaging import recompute
from transferlab.backbones.weights import read_tensors
from transferlab.environment import quiet
from transferlab.history import weights
from transferlab.module import start_random_state
from transferlab.scoring import Tested
from transferlab.souping.groups import Finished, Group
from transferlab.soups import State
from transferlab.strategy import Strategy
from transferlab.tasks.base import Task
from transferlab.trust import check_located_targets
from transferlab.values import each, floats


class Bench:
    """The net and the data of a group, by which weights are scored.

    Args:
        group: whose ingredients have the same net and the same data.

    Raises:
        InputError: data or net cannot be built any more.
    """

    def __init__(self, group: Group) -> None:
        config = _plain(group.best.record["config"])
        check_located_targets(config)
        quiet()
        start_random_state(config.seed, "build")
        strategy: Strategy = nodes.build(config.strategy)
        parts, _ = feeding.data(config, strategy)
        task: Task = nodes.build(config.task)
        net, input = building.net(config, task), building.inputs(config)
        self.tested = Tested()
        self.trainer = building.trainer(config, group.best.folder.parent / results.RESUME, [self.tested])
        self.data = feeding.batches(config, parts, None, strategy, task, input)
        self.module = building.module(config, net, strategy, task, parts, None, from_source=False, input=input)
        self.outputs, self.accelerator = len(parts.classes), str(config.trainer.accelerator)
        self.ingredients: list[Finished] = []
        self.refused: list[str] = []
        self._kind = next((p.dtype for p in self.module.backbone.parameters()), torch.float32)
        self._moved: set[str] = set()
        self._look(group)

    def validated(self, state: State) -> dict[str, float]:
        """What validation says of weights, which then are the net's."""
        self.module.load_state_dict(state, strict=False)
        self.trainer.validate(self.module, datamodule=self.data, verbose=False)
        return self._measured("val/")

    def scored(self, state: State) -> tuple[dict[str, float], dict[str, Any] | None]:
        """What the test split says of weights, and the report on it."""
        self.module.load_state_dict(state, strict=False)
        self.trainer.test(self.module, datamodule=self.data, verbose=False)
        return self._measured("test/"), self.tested.report(self.module, self.outputs)

    def recomputed(self, state: State) -> dict[str, Tensor]:
        """Weights with statistics of BatchNorm anew, by a pass over the training samples.

        Those that are the same in all ingredients were frozen, and stay.
        """
        self.module.load_state_dict(state, strict=False)
        self.module.to(self.trainer.strategy.root_device).eval()
        for path, layer in self.module.backbone.named_modules():
            if isinstance(layer, _BatchNorm):
                layer.training = f"backbone.{path}.running_mean" in self._moved
        recompute(self.module.backbone, self._inputs())
        return {key: value.cpu().clone() for key, value in weights(self.module).items()}

    def states(self) -> Iterator[dict[str, Tensor]]:
        """The weights of the ingredients, one by one, the best first."""
        for run in self.ingredients:
            yield read_tensors(run.folder / results.SELECTED)

    def _look(self, group: Group) -> None:
        """Tell the ingredients whose weights are this net's from others, and what differs between them."""
        wanted = weights(self.module)
        first: dict[str, Tensor] = {}
        for run in group.ingredients:
            state = read_tensors(run.folder / results.SELECTED)
            if problem := _mismatch(wanted, state):
                self.refused.append(
                    f"{run.run_id} ({run.strategy}): its {results.SELECTED} {problem}, so that it is not of the net "
                    "alone, as that of an adapter is not: left out"
                )
                continue
            self.ingredients.append(run)
            first = first or state
            self._moved |= {key for key, value in state.items() if not torch.equal(value, first[key])}

    def _inputs(self) -> Iterator[Any]:
        for x, y in self.data.studied(next(iter(self.data.sets.domains)), self.data.batch_size):
            if len(y) > 1 or len(self.data.sets.train) == 1:  # of one sample there are no statistics
                x = each(lambda tensor: tensor.to(self.module.device), x)
                yield floats(self.data.on_after_batch_transfer((x, y.to(self.module.device)), 0)[0], self._kind)

    def _measured(self, split: str) -> dict[str, float]:
        return {key: float(value) for key, value in self.trainer.callback_metrics.items() if key.startswith(split)}


def _plain(config: Mapping[str, Any]) -> DictConfig:
    """The config of a run, without what only training needs, on one device."""
    found = OmegaConf.create(dict(config))
    found.merge_with(migrations.later_keys(config))
    found.strategy.update(start="random", head="new", losses={}, teachers={})
    found.strategy.update(adapter=None, averaging=None, interpolation=None)
    found.trainer.update(devices=1, strategy="auto")
    return found


def _mismatch(wanted: State, state: State) -> str:
    """In what weights are not those of a net, by one key; empty where they are."""
    for key, value in wanted.items():
        if key not in state:
            return f"lacks {key}"
        if state[key].shape != value.shape:
            return f"has {key} in another shape, {tuple(state[key].shape)} in place of {tuple(value.shape)}"
    return next((f"has {key} besides" for key in state if key not in wanted), "")
