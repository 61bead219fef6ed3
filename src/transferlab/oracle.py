"""The oracle: what the best choice of an epoch would have been, had the test split been there to choose by.

Never a result to report, always labelled so: beside the score of the declared rule it says how much the rule gave away.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torchmetrics import MetricCollection

from transferlab.backbones.base import Backbone
from transferlab.diagnostics.probe import evaluating
from transferlab.directions import sign
from transferlab.errors import unknown
from transferlab.selection.rules import Rule
from transferlab.tasks import base
from transferlab.tasks.base import Task


class Net(Protocol):
    """What is scored: a module with these parts."""

    backbone: Backbone
    head: nn.Module
    task: Task


class Oracle(Callback):
    """Scores the test split after every epoch, for the record alone.

    Nothing is logged and nothing enters the history, so that no selection rule, schedule or tracker can read it; no
    random number is drawn and every module's mode is put back, so that the training is the same with it and without it.
    Its scores travel in the checkpoint. Stands behind `History`, so that its time is none of `fit_seconds`.

    Args:
        rule: the declared selection rule; the oracle looks at the same metric on the test split.
        outputs: how many classes or other outputs the data name.
        metric: the task's, to look at where the rule looks at none.
        enter: has the test split's batches enter the net where they can, with the weights that it has now.
    """

    def __init__(
        self, rule: Rule, outputs: int, metric: str, enter: Callable[[Trainer, LightningModule], None]
    ) -> None:
        self.metric = counterpart(rule, metric)
        self.outputs = outputs
        self._enter = enter
        self.rows: list[dict[str, Any]] = []
        self.given: Sequence[Any] | None = None
        """Batches of the test split, where somebody has them; None: the data's own."""
        self.seconds = 0.0  # spent here by this process

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Build metrics and batches of its own.

        Raises:
            InputError: the task does not measure the metric.
        """
        net = cast(Net, pl_module)
        self._metrics = base.own(net.task.metrics(self.outputs)).to(pl_module.device)
        self._batches = self.given or cast(Any, trainer).datamodule.test_dataloader()
        known = ["test/loss", *(f"test/{name}" for name in self._metrics)]
        if self.metric not in known:
            raise unknown("metric of the test split for the oracle", self.metric, known)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the epoch just ended."""
        started = time.perf_counter()
        self._enter(trainer, pl_module)
        self.rows.append({"epoch": trainer.current_epoch, **evaluate(trainer, pl_module, self._batches, self._metrics)})
        self.seconds += time.perf_counter() - started

    def latest(self) -> dict[str, Any]:
        """The scores of the epoch just ended."""
        return self.rows[-1]

    def scores(self, history: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """The best epoch by the test split, as validation and as the test split saw it; None where nothing was scored.

        Args:
            history: a row an epoch.
        """
        if not self.rows:
            return None
        row = best(self.rows, self.metric)
        validated = {key: value for key, value in history[row["epoch"]].items() if key.startswith("val/")}
        return {"rule": "oracle", "epoch": row["epoch"], **validated, **{k: v for k, v in row.items() if k != "epoch"}}

    def state_dict(self) -> dict[str, Any]:
        """All scores so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.rows = state_dict["rows"]


def counterpart(rule: Rule, otherwise: str) -> str:
    """The metric on the test split that answers to a rule's on validation: `test/loss` for `val/loss`.

    A rule without a metric of the validation split, such as `last`, is measured by the metric `otherwise`.
    """
    split, _, name = str(getattr(rule, "keywords", {}).get("metric", "")).partition("/")
    return f"test/{name}" if split in ("val", "test") else f"test/{otherwise}"


def best(rows: Iterable[Mapping[str, Any]], metric: str) -> Mapping[str, Any]:
    """The row with the highest score, of equals the latest; for one of which less is better, the lowest.

    A score that is NaN loses against every number.
    """

    def key(row: Mapping[str, Any]) -> tuple[float, int]:
        score = sign(metric) * row[metric]
        return (score if score == score else float("-inf"), row["epoch"])

    return max(rows, key=key)


@torch.no_grad()
def evaluate(
    trainer: Trainer,
    module: LightningModule,
    batches: Iterable[Any],
    metrics: MetricCollection,
    seen: Callable[[Any, Any], None] | None = None,
) -> dict[str, float]:
    """Loss and metrics of a module on the test split, to the last bit what `trainer.test` gives for its weights.

    Args:
        trainer: in the middle of a fit; its precision and its way to the device are the test's.
        module: a `TransferModule`; every part of it is back in its mode afterwards.
        batches: of the test split, (x, y) each.
        metrics: reset before and afterwards.
        seen: is shown each batch's outputs, and the batch.

    Returns:
        `test/loss`, the mean over known labels, and `test/<metric>`.
    """
    net, precision = cast(Net, module), trainer.precision_plugin
    total, weight = torch.zeros((), device=module.device), torch.zeros((), dtype=torch.long, device=module.device)
    metrics.reset()
    with evaluating(module), precision.test_step_context():
        for batch in batches:
            x, y = trainer.strategy.batch_to_device(precision.convert_input(batch))
            _, _, outputs = base.observe(net.backbone, net.head, x)
            metrics.update(*net.task.scored(outputs, y))
            if seen is not None:
                seen(outputs, (x, y))
            # batch by batch in float32, the order and the type in which Lightning adds up what is logged
            counted = base.counted(net.task, y)
            total, weight = total + net.task.loss(outputs, y).float() * counted, weight + counted
    scores = {"loss": total / weight, **metrics.compute()}
    metrics.reset()
    return {f"test/{name}": float(score) for name, score in scores.items()}
