"""Every strategy lowers its own loss over 20 steps, on a batch that it trains on.

Its own loss is each of its transfer losses, times its weight; where it has none, the task loss of the weights that the
run gives in the end, averages and interpolations among them. The task loss may lower a transfer loss too, so a transfer
loss must end lower than in the same run without its gradient. Some strategies are drawn each day, see `cells.drawn`.
"""

from collections.abc import Callable
from typing import Any

import cells
import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback
from torch import Tensor

from transferlab import train
from transferlab.data.module import Domain
from transferlab.diagnostics.probe import remembered
from transferlab.losses.features.queue import Queue
from transferlab.module import TransferModule

STEPS = 20
NOISE = 0.1  # standard deviation; weights of the convnet are about as large
PROGRESS = 0.5  # of training, at which weights that follow a schedule are taken

# The source learns enough to have an opinion, and the run enough to show in 20 steps.
LONGER = ("source.pretrain.max_epochs=20", "source.pretrain.optimizer.lr=0.05", "optimizer.lr=0.02")
# How much a loss must count so that the task loss, which pulls elsewhere, does not drown it. One with a queue rises
# while that fills: the queue takes the 16 samples of an epoch, and there is one epoch more.
OWN = {
    "bi_tuning": ("strategy.losses.bi_tuning.queue=16", "trainer.max_epochs=11"),
    "bss": ("strategy.losses.bss.weight=1",),
    "crd": ("strategy.losses.crd.queue=16", "trainer.max_epochs=11"),
    "delta": ("strategy.losses.delta.weight=100",),
    "ewc": ("strategy.losses.ewc.weight=10",),
    "kd": ("strategy.losses.kd.weight=10",),
    "l2_sp": ("strategy.losses.l2_sp.weight=100",),
    **{name: (f"strategy.losses.{name}.weight=10",) for name in ("cmd", "bnm", "mcc", "entropy", "shot")},
    "dan": ("strategy.losses.mk_mmd.weight=10",),
    "jan": ("strategy.losses.jmmd.weight=10",),
    "deep_coral": ("strategy.losses.coral.weight=1000",),
}

# Of strategies of adaptation, those that minimise: in the others two sides pull at one loss, or it waits for sure
# predictions, or its value says nothing (AFN's is the same at every step).
MINIMISED = {
    "dan": "mk_mmd",
    "jan": "jmmd",
    "deep_coral": "coral",
    "cmd": "cmd",
    "bnm": "bnm",
    "mcc": "mcc",
    "entropy": "entropy",
    "shot": "shot",
    "source_only": "source_task",
}
LOWERING = [name for name in cells.stepping() if name in MINIMISED or not cells.adapts(name)]

pytestmark = pytest.mark.slow


class Looking(Callback):
    """What a net was at its first step, or at the first one with full queues.

    A loss that holds a net to its start has nothing to lower there; so where there are transfer losses, the backbone is
    first moved off it.
    """

    def __init__(self) -> None:
        self.module: TransferModule
        self.batch: dict[str, Domain] = {}
        self.start: dict[str, Tensor] = {}
        self.steps = 0
        self.modes: list[bool] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 0 and pl_module.losses:
            move(pl_module.backbone)
        queues = [part for part in pl_module.losses.modules() if isinstance(part, Queue)]
        if not self.start and all(queue.pushed >= len(queue.labels) for queue in queues):
            self.module, self.steps = pl_module, -trainer.global_step
            self.start = {key: value.clone() for key, value in pl_module.state_dict().items()}
            self.batch = trainer.datamodule.rehearsal(cells.BATCH)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.steps += trainer.global_step
        self.modes = [part.training for part in pl_module.modules()]

    def losses(self) -> tuple[dict[str, float], dict[str, float]]:
        """The own losses of the net as it is now, and as it was; on one batch, in one random state."""
        for part, mode in zip(self.module.modules(), self.modes, strict=True):
            part.training = mode  # what is frozen trains otherwise than it is tested
        now = self._losses()
        self.module.load_state_dict(self.start)
        return now, self._losses()

    @torch.no_grad()
    def _losses(self) -> dict[str, float]:
        with remembered(self.module), torch.random.fork_rng():
            torch.manual_seed(0)
            terms = self.module.terms(self.batch, PROGRESS)
        return {name: float(term) for name, term in terms.items() if name != "task" or len(terms) == 1}


@torch.no_grad()
def move(net: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        weight += NOISE * torch.randn(weight.shape, generator=generator)


@pytest.mark.parametrize("strategy", cells.drawn(7, LOWERING))
def test_a_strategy_lowers_its_own_loss(strategy, folder, beside, monkeypatch):
    monkeypatch.chdir(folder)
    beside(looks := [], Looking)
    more = ("trainer.max_epochs=10", *LONGER, *cells.EARLY.get(strategy, ()), *OWN.get(strategy, ()))
    config = cells.composed(cells.command(cells.alone(strategy), folder, *more))
    now, before = trained(config, looks)
    assert now.keys() == (set(config.strategy.losses) or {"task"})
    if strategy in MINIMISED:
        now, before = ({MINIMISED[strategy]: found[MINIMISED[strategy]]} for found in (now, before))
    assert all(now[name] < value for name, value in before.items()), f"from {before} to {now}"
    if config.strategy.losses and strategy not in ("shot", "source_only"):  # which have nothing else to train by
        monkeypatch.setattr(TransferModule, "terms", without_gradients(TransferModule.terms))
        config.study = "without"
        otherwise, _ = trained(config, looks)
        assert all(now[name] < otherwise[name] for name in now), f"{now}, without it {otherwise}"


def trained(config: DictConfig, looks: list[Looking]) -> tuple[dict[str, float], dict[str, float]]:
    """The own losses after a run and before."""
    assert train.run(config)["status"] == "finished"
    assert looks[-1].steps == STEPS  # those before are of the source
    return looks[-1].losses()


def without_gradients(terms: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    def detached(*given: Any) -> dict[str, Tensor]:
        found = terms(*given)
        kept = "task" if "task" in found else "source_task"  # else nothing trains where the target has no labels
        return {name: term if name == kept else term.detach() for name, term in found.items()}

    return detached
