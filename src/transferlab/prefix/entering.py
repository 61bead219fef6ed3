"""The callback that has batches enter the net behind its frozen stages."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn

from transferlab.cache.packing import UncacheableError
from transferlab.cache.planning import Work, chosen
from transferlab.cache.store import CacheError, Store
from transferlab.data.module import TransferData
from transferlab.diagnostics.probe import undisturbed
from transferlab.errors import InputError
from transferlab.flops import Flops
from transferlab.module import TransferModule
from transferlab.prefix.activations import Activations, Batches

_log = logging.getLogger(__name__)
_FITTED = ("target", "source", "val")


@dataclass(frozen=True)
class Settings:
    """The settings of `conf/cache/_base.yaml`, which says what each means.

    Raises:
        InputError: a value out of its range.
    """

    use: Literal["auto", "on", "off"]
    dtype: Literal["float32", "bfloat16"]
    views: int
    gigabytes: float
    wait: bool

    def __post_init__(self) -> None:
        for key, words in {"use": ("auto", "on", "off"), "dtype": ("float32", "bfloat16")}.items():
            if getattr(self, key) not in words:
                raise InputError(f"cache.{key}={getattr(self, key)}: {', '.join(words[:-1])} or {words[-1]}")
        if self.views < 0:
            raise InputError(f"cache.views={self.views}: 0, or how many views of a training sample are kept")
        if self.gigabytes <= 0:
            raise InputError(f"cache.gigabytes={self.gigabytes}: above 0; cache=off turns it off")


OFF = Settings("off", "float32", 0, 1.0, True)


class PrefixCache(Callback):
    """Has the batches of an epoch enter the net behind the stages that are frozen in it.

    What may enter, and where, is decided before the first epoch, and again when stages freeze that have trained; the
    decision travels in the checkpoint. Nothing that a run says depends on it, to round-off, but times. Stands behind
    the history, so that computing the activations is part of the fit's time.

    Args:
        settings: of the run.
        folder: of all runs' activations.
        about: the net, as far as its weights do not say it.
        flops: counts those of a step, of which it is to see all.
    """

    def __init__(self, settings: Settings, folder: Path, about: Mapping[str, Any], flops: Flops) -> None:
        self.settings, self.about, self.flops = settings, about, flops
        self.store = Store(folder, settings.gigabytes, settings.wait)
        self.kept: list[int] = []
        self._expected: list[int] | None = None  # how many of the first stages are frozen from this epoch on
        self._off = settings.use == "off"
        self._served = 0
        self._decoded = False
        self._depths: dict[frozenset[str], int] = {}
        self._keys: dict[int, str] = {}
        self._entered: dict[str, Batches | None] = {}
        self._found: Activations | None = None

    @property
    def hits(self) -> int:
        """How many samples have entered behind a frozen stage so far, in training and evaluation."""
        return self._served + sum(part.served for part in self._entered.values() if part is not None)

    def count(self, samples: int) -> None:
        """Samples have entered without this callback."""
        self._served += samples if self.settings.use != "off" else 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose where this epoch's batches enter."""
        module, epoch = cast(TransferModule, pl_module), trainer.current_epoch
        if self._off:
            self._decode(trainer)
            return
        with undisturbed(module), self._tried(trainer):
            still = self._still(module, range(max(epoch - 1, 0), int(trainer.max_epochs or 1)))
            before = still.pop(0) if epoch else len(module.backbone.stages)
            found = self.activations(trainer, module)
            found.changed(module.backbone.stages[before:])
            self.kept = [one for one in self.kept if one <= before]
            if still[0] > before or self._expected is None or still != self._expected[1:]:
                self._plan(found, still)
            self._expected = still
            for boundary in self.kept:
                self._keys[boundary] = found.key(boundary)
            self._enter(found, max((one for one in self.kept if one <= still[0]), default=0), _FITTED)
        self._decode(trainer)
        module.freeze_in(epoch)
        for part in ("target", "source"):
            if (batches := self._entered.get(part)) is not None and self._found is not None:
                batches.first_read = self._found.lengths_differ and not self.flops.knows(module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Weights that are not those of the last step, an average say, may have another prefix."""
        module = cast(TransferModule, pl_module)
        if trainer.state.fn != TrainerFn.FITTING or module.strategy.averaging is not None:
            self._match(trainer, module, "val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Those of the selected epoch too."""
        self._match(trainer, cast(TransferModule, pl_module), "test")

    def state_dict(self) -> dict[str, Any]:
        """What was decided, and how often it helped."""
        return {
            "hits": self.hits,
            "kept": self.kept,
            "keys": self._keys,
            "expected": self._expected,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on alike."""
        self._served, self.kept, self._keys = state_dict["hits"], list(state_dict["kept"]), dict(state_dict["keys"])
        self._expected = state_dict["expected"]

    def activations(self, trainer: Trainer, module: TransferModule) -> Activations:
        """Of the run's net and data, looked at once."""
        if self._found is None:
            data = cast(TransferData, cast(Any, trainer).datamodule)
            kind = torch.bfloat16 if self.settings.dtype == "bfloat16" else None
            self._found = Activations(trainer, module, data, self.store, kind, self.about)
        return self._found

    def _decode(self, trainer: Trainer) -> None:
        """Before the first step, bring into memory the samples that will be read: of a broken one is said so now."""
        if self._decoded:
            return
        self._decoded = True
        entered = {part for part, batches in self._entered.items() if batches is not None}
        if self._found is not None and self.kept and self._found.ready(max(self.kept), ["test"]):
            entered.add("test")
        data = cast(TransferData, cast(Any, trainer).datamodule)
        data.decode(*(part for part in (*_FITTED, "test") if part not in entered))

    def _plan(self, found: Activations, still: Sequence[int]) -> None:
        """Decide what is kept for the epochs to come.

        Raises:
            UncacheableError: nothing can be.
        """
        same = list(accumulate([len(found.backbone.stages), *still[:-1]], min))
        most = max(map(min, still, same))
        if not most:
            return
        if found.trainer.world_size > 1:
            raise UncacheableError("the run is on several devices")
        if found.data.mixes:
            raise UncacheableError("labels are made of the inputs, or mixed with them")
        if found.data.changes:
            raise UncacheableError("training samples change from epoch to epoch; cache.views=K has them do so K times")
        if (adapter := found.module.strategy.adapter) is not None and adapter.reads_input:
            raise UncacheableError("the strategy's adapter reads the inputs beside the net")
        if not (most := found.open_to(most)):
            raise UncacheableError("another net, whose first stages are others than this one's, reads the inputs too")
        sizes, refused = {}, None
        for boundary in sorted({min(one, most) for one in map(min, still, same)} - {0}):
            try:
                sizes[boundary] = found.size(boundary)
            except UncacheableError as error:
                refused = error
        if refused is not None and not sizes:
            raise refused
        held = [found.rows[name] for name in _FITTED if name in found.rows]
        seen, kept = sum(len(rows.samples) for rows in held), sum(map(len, held))
        open_to = [min(one, most) for one in still]
        work = Work(open_to, same, found.flops, seen, kept, found.module.device.type)
        limit = self.settings.gigabytes * 1e9
        if self.settings.use == "on":
            self.kept = sorted(sizes)
        elif chosen(work, sizes, sizes, limit):  # else nothing pays even if all of it is there
            # where the choice shows in the numbers, what others have left must not decide
            rounded = self.settings.dtype != "float32"
            ready = [] if rounded else [one for one in sizes if found.ready(one, _FITTED)]
            self.kept = chosen(work, sizes, ready, limit)
        else:
            self.kept = []
        _log.info("cache %s", self._because(found, work, sizes))
        for boundary in self.kept:  # in one pass, each from the one before
            for name in _FITTED:
                found.batches(name, boundary, self.kept)

    def _because(self, found: Activations, work: Work, sizes: Mapping[int, int]) -> str:
        epochs = len(work.still)
        if not self.kept:
            last = max(sizes)
            return (
                f"off: {work.flops[last] / 1e6:.3g} million operations a sample before {found.name(last)}, saved in up "
                f"to {epochs} epochs of {work.samples} samples, do not pay for keeping {sizes[last]} bytes of each"
            )
        places = ", ".join(f"{found.name(one)} ({sizes[one]} bytes a sample)" for one in self.kept)
        flops = work.flops[self.kept[-1]] / 1e6
        return f"on: activations are kept before {places}; up to {flops:.3g} million operations a sample are done once"

    def _enter(self, found: Activations, boundary: int, parts: Iterable[str]) -> None:
        for part in parts:
            batches = found.batches(part, boundary, self.kept) if boundary else None
            self._leave(part)
            self._entered[part] = batches
            found.data.enter(part, batches)

    def _leave(self, part: str) -> None:
        before = self._entered.pop(part, None)
        self._served += before.served if before is not None else 0

    def _match(self, trainer: Trainer, module: TransferModule, part: str) -> None:
        """Enter where the net, with the weights that it has now, is as it was when activations were kept."""
        if self._off or not self._keys:
            return
        with undisturbed(module), self._tried(trainer):
            found = self.activations(trainer, module)
            found.changed(module.backbone.stages)
            alike = [one for one, key in self._keys.items() if found.key(one) == key]
            self._enter(found, max(alike, default=0), [part])
            found.changed(module.backbone.stages)  # training goes on from others

    def _still(self, module: TransferModule, epochs: Iterable[int]) -> list[int]:
        """How many of the first stages are frozen in each epoch, as far as the schedule has decided."""
        found = []
        for epoch in epochs:
            stages = frozenset(module.strategy.trainable(module.stages, epoch))
            if stages not in self._depths:
                module.freeze_in(epoch)
                self._depths[stages] = module.backbone.still()
            found.append(self._depths[stages])
        return found

    @contextmanager
    def _tried(self, trainer: Trainer) -> Iterator[None]:
        """What keeps the cache from being used ends its use, and not the run."""
        try:
            yield
        except (CacheError, UncacheableError) as error:
            self._off, self.kept = True, []
            _log.log(logging.WARNING if isinstance(error, CacheError) else logging.INFO, "cache off: %s", error)
            for part in (*_FITTED, "test"):
                self._leave(part)
                cast(TransferData, cast(Any, trainer).datamodule).enter(part, None)
