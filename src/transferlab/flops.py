"""Floating-point operations of a run's training, by torch's counter."""

import logging
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, TypeVar, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from transferlab.backbones.base import Backbone
from transferlab.data.loading import size
from transferlab.module import TransferModule

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class Flops(Callback):
    """Counts one step for each set of trainable stages, and the target samples trained under each set.

    What is counted is forward and backward of training steps: matrix products, convolutions, attention and recurrent
    layers, a multiplication and an addition being two operations. With N steps' worth of target samples the run costs

        flops = sum over sets of (flops of the measured step / target samples in it) x target samples trained on

    so a batch of the source beside the target's counts as part of what a target sample costs. Not included: the
    optimiser's step, evaluation, and the source's pretraining, whose record has a count of its own. The measured step
    is an ordinary one of the run, the first of the first epoch in which the set trains; the counter looks on. What
    samples that come from the cache have behind them counts as if it were done, by sample where all are of one size. Of
    several processes the first one's operations count for each.
    State travels in the checkpoint.
    """

    def __init__(self) -> None:
        self.sets: dict[str, dict[str, int]] = {}
        self.failed = False
        self._counter: _Counter | None = None
        self._passed = 0

    @property
    def total(self) -> int | None:
        """Operations of the run so far; None where the counter failed or no step was done."""
        if self.failed or not self.sets:
            return None
        return sum(one["step"] * one["samples"] // one["batch"] for one in self.sets.values() if one["batch"])

    def knows(self, module: LightningModule) -> bool:
        """Whether no step of the stages that train now is to be counted any more."""
        return self.failed or _stages(module) in self.sets

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin to count, if no step of these stages has been counted."""
        if batch_idx or self.knows(pl_module):
            return
        self._counter = _Counter()
        try:
            self._passed = _passed(pl_module)
            cast(Any, self._counter).__enter__()
        except Exception as error:
            self._counter = None
            self._give_up(error)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End counting before the optimiser steps."""
        if (counter := self._stop()) is None:
            return
        if counter.error is not None or not counter.get_total_flops():
            self._give_up(counter.error or "torch's counter has no formula for any operation of this model")
            return
        step = (int(counter.get_total_flops()) + _passed(pl_module) - self._passed) * trainer.world_size
        self.sets[_stages(pl_module)] = {"step": step, "batch": 0, "samples": 0}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Mapping[str, Any], batch_idx: int
    ) -> None:
        """Count the samples trained on, of the target where there are any."""
        if (one := self.sets.get(_stages(pl_module))) is not None:
            samples = size(batch)
            one["batch"] = one["batch"] or samples
            one["samples"] += samples

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop looking on: what happens after a failed step is none of the counter's business."""
        self._stop()

    def state_dict(self) -> dict[str, Any]:
        """Everything counted so far."""
        return {"sets": self.sets, "failed": self.failed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.sets, self.failed = state_dict["sets"], state_dict["failed"]

    def _stop(self) -> "_Counter | None":
        counter, self._counter = self._counter, None
        if counter is not None:
            cast(Any, counter).__exit__(None, None, None)
        return counter

    def _give_up(self, reason: object) -> None:
        self.failed = True
        _log.warning("the run's FLOPs are not counted: %s", reason)


def _cudnn(input: Sequence[int], weights: Sequence[Sequence[int]], *rest: Any, **more: Any) -> int:
    """A recurrent layer, forward: each real step of the packed sequences meets each matrix of weights once.

    Four gates of an LSTM, or three of a GRU, make 2 x gates x (inputs + units) x units a step. Torch's counter sees the
    same products by itself where no library does the whole layer at once, as on a CPU with packed sequences.

    Args:
        input: shape of all steps, (steps, inputs) or (B, T, inputs).
        weights: shapes of matrices and biases.
        rest: of torch's operation.
        more: likewise.
    """
    return 2 * prod(input[:-1]) * sum(prod(shape) for shape in weights if len(shape) > 1)


def _cudnn_backward(input: Sequence[int], weights: Sequence[Sequence[int]], *rest: Any, **more: Any) -> int:
    """As many for the gradient of the inputs, and again as many for that of the weights where they train."""
    return _cudnn(input, weights) * (2 if rest[-1][3] else 1)


def _onednn(input: Sequence[int], *rest: Any, **more: Any) -> int:
    return _cudnn(input, rest[:4])


def _onednn_backward(input: Sequence[int], *rest: Any, **more: Any) -> int:
    return 2 * _cudnn(input, rest[:4])


# what torch's own counter has no formulas for
_RECURRENT = {
    torch.ops.aten._cudnn_rnn: _cudnn,
    torch.ops.aten._cudnn_rnn_backward: _cudnn_backward,
    torch.ops.aten.mkldnn_rnn_layer: _onednn,
    torch.ops.aten.mkldnn_rnn_layer_backward: _onednn_backward,
}


def _convolution_backward(
    grad: Sequence[int], input: Sequence[int], weight: Sequence[int], *rest: Any, **more: Any
) -> int:
    """As many as forward for the gradient of the inputs, and again for that of the weights, where they are asked for.

    Args:
        grad: shape of the outputs' gradient, (B, channels, ...).
        input: shape, (B, channels, ...).
        weight: shape; its channels are those of one group.
        rest: of torch's operation.
        more: likewise.
    """
    transposed, (of_input, of_weight, _) = rest[4], rest[7]
    places = input[2:] if transposed else grad[2:]
    return 2 * grad[0] * prod(places) * prod(weight) * (int(of_input) + int(of_weight))


# torch's own counts gradients of a grouped convolution's weights as if every group saw all channels
_FORMULAS = {**_RECURRENT, torch.ops.aten.convolution_backward: _convolution_backward}


class _Everywhere:
    """In place of torch's tracker of modules: all operations are of one."""

    parents = ("Global",)

    def __enter__(self) -> None: ...

    def __exit__(self, *of_error: object) -> None: ...


class _Counter(FlopCounterMode):
    """Torch's counter, except that a formula which fails ends the counting and not the training step."""

    error: Exception | None = None

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping=_FORMULAS)
        # by which module is not asked, and asking breaks a loss that takes a gradient within the step
        self.mod_tracker = cast(Any, _Everywhere())

    def _count_flops(self, func_packet: Any, out: Any, args: Any, kwargs: Any) -> Any:
        try:
            return super()._count_flops(func_packet, out, args, kwargs)  # type: ignore[no-untyped-call]
        except Exception as error:
            self.error = error
            return out


def operations(function: Callable[[], Result]) -> tuple[Result, int]:
    """What a function returns, and the operations that it took; 0 where torch's counter fails."""
    counter = _Counter()
    try:
        cast(Any, counter).__enter__()
    except Exception:
        return function(), 0
    try:
        found = function()
    finally:
        cast(Any, counter).__exit__(None, None, None)
    return found, 0 if counter.error is not None else int(counter.get_total_flops())


def _passed(module: nn.Module) -> int:
    return sum(part.passed for part in module.modules() if isinstance(part, Backbone))


def _stages(module: LightningModule) -> str:
    assert isinstance(module, TransferModule)
    return ",".join(module.trainable)
