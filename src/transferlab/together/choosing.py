"""Which runs can be trained together, and why others cannot."""

import json
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from transferlab import results
from transferlab.listening import Listener
from transferlab.probing.seat import Seat
from transferlab.stepping import plain
from transferlab.strategy import Strategy
from transferlab.together.stack import options
from transferlab.training import Run

_ANY = ("first", "second", "head")


def apart_by_strategy(strategy: Strategy, epochs: int) -> str | None:
    """Why a run does not train a head alone, as far as its strategy says so; None: it may."""
    if more := strategy.beyond_head:
        return more
    if strategy.solver is not None:
        return "the strategy has a solver"
    if isinstance(strategy.freezing, Listener):
        return "the freezing schedule listens to the training"
    return None if _head_alone(strategy, _ANY, epochs) else "more than the head trains"


def apart(run: Run) -> str | None:
    """Why a run that is ready is to be trained by itself; None: it need not be."""
    module, epochs = run.module, int(run.trainer.max_epochs or 1)
    if not _head_alone(module.strategy, module.stages, epochs):
        return "more than the head trains"
    cache = run.watching.cache.settings
    if cache.use == "off":
        return "cache=off"
    if cache.use == "auto" and cache.dtype != "float32":
        return f"cache=auto decides for each run whether it is rounded to {cache.dtype}"
    if (run.folder / results.RESUME).exists():
        return "it was begun by itself"
    if not plain(run.trainer) or not _whole(run.trainer):
        return "the trainer asks for more of a step than its mathematics"
    if str(run.trainer.precision) not in ("32-true", "64-true"):
        return f"trainer.precision={run.trainer.precision}"
    return _other_head(module.head)


def apart_by_padding(run: Run) -> str | None:
    """Why a run whose samples are padded is trained by itself; None: they are not."""
    padded = run.watching.cache.activations(run.trainer, run.module).inputs.padded
    return "operations of padded samples are counted batch by batch" if padded else None


def form(run: Run, seat: Seat) -> str:
    """What runs have in common that are trained together: steps, head, loss and optimiser, but for rate and decay."""
    group = options(seat.group)
    weights: Mapping[str, Tensor] = run.module.head.state_dict()
    said: list[Any] = [
        OmegaConf.to_container(run.config.task, resolve=True),
        seat.max_epochs,
        str(run.trainer.precision),
        str(run.trainer.strategy.root_device),
        len(run.data.sets.train),
        run.data.batch_size,
        type(seat.optimizers[0]).__name__,
        {key: str(value) for key, value in group.items()},
        [(name, str(value.dtype), tuple(value.shape)) for name, value in weights.items()],
        _learned(run),
    ]
    return json.dumps(said, sort_keys=True)


def _learned(run: Run) -> Any:
    """What a task was given, and has learned from a run's own labels, say their scale or the weights of classes."""
    return {name: _said(value) for name, value in vars(run.module.task).items() if name != "_head"}


def _said(value: Any) -> Any:
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), value.detach().cpu().contiguous().numpy().tobytes().hex()]
    if isinstance(value, Mapping):
        return {str(name): _said(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_said(one) for one in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    # what cannot be compared is not shared
    return getattr(value, "__qualname__", None) or f"{type(value).__qualname__} {id(value)}"


def _head_alone(strategy: Strategy, stages: tuple[str, ...], epochs: int) -> bool:
    try:
        return all(strategy.trainable(stages, epoch) == {"head"} for epoch in range(epochs))
    except Exception:  # a schedule that names stages of its own net
        return False


def _whole(trainer: Trainer) -> bool:
    """Whether an epoch is all batches, and then all of validation."""
    limits = (trainer.limit_train_batches, trainer.limit_val_batches, trainer.limit_test_batches)
    often = (trainer.val_check_interval, trainer.check_val_every_n_epoch)
    return all(limit in (None, 1.0) for limit in limits) and all(one in (None, 1) for one in often)


def _other_head(head: nn.Module) -> str | None:
    for part in head.modules():
        if (isinstance(part, _DropoutNd) and part.p > 0) or isinstance(part, _BatchNorm):
            return f"the head has a {type(part).__name__}, which draws or counts batch by batch"
    if getattr(head, "reads", ()):
        return "the head reads stages"
    return None


def steps(run: Run) -> int:
    """Of an epoch."""
    return len(run.data.order())
