"""The callback that has batches enter the net behind its frozen stages."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn

from transferlab.backbones.base import Backbone
from transferlab.cache.packing import UncacheableError
from transferlab.cache.store import CacheError, Store
from transferlab.data.module import TransferData
from transferlab.data.sets import DOMAINS
from transferlab.diagnostics.probe import undisturbed
from transferlab.flops import Flops
from transferlab.module import TransferModule
from transferlab.prefix.activations import Activations, Batches
from transferlab.prefix.deciding import FITTED, boundaries
from transferlab.prefix.inputs import Inputs
from transferlab.prefix.keys import alike
from transferlab.prefix.lessons import Lessons, taken, teachers
from transferlab.prefix.settings import Settings

_log = logging.getLogger(__name__)


class PrefixCache(Callback):
    """Has the batches of an epoch enter the net behind the stages that are frozen in it, and teachers at their end.

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
        self.lessons = Lessons(settings, self.store, about.get("augmentation"))
        self.kept: list[int] = []
        self._expected: list[int] | None = None  # how many of the first stages are frozen from this epoch on
        self._off = settings.use == "off"
        self._served = 0
        self._decoded = False
        self._refused: set[str] = set()
        self._depths: dict[frozenset[str], int] = {}
        self._keys: dict[int, str] = {}
        self._entered: dict[str, Batches | None] = {}
        self._inputs: Inputs | None = None
        self._found: Activations | None = None

    @property
    def hits(self) -> int:
        """How many samples have entered a net behind its first stages so far: this one, or a teacher at its end."""
        if self.settings.use == "off":
            return 0
        served = sum(part.served for part in self._entered.values() if part is not None)
        return self._served + self.lessons.served + served

    def count(self, samples: int) -> None:
        """Samples have entered without this callback."""
        self._served += samples

    def enter(self, data: TransferData, part: str, batches: Batches | None) -> None:
        """From its next pass on, a part of the data gives batches that have entered, or None: as they are read."""
        self._leave(part)
        self._entered[part] = batches
        data.enter(part, batches)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose where this epoch's batches enter."""
        module, epoch = cast(TransferModule, pl_module), trainer.current_epoch
        if self.settings.use != "off":
            with undisturbed(module), self._tried(trainer):
                if self.lessons.begin(module, self._samples(trainer), int(trainer.max_epochs or 1) - epoch):
                    self._expected, self.kept = None, []  # the plan had more of them
        if not self._off:
            with undisturbed(module), self._tried(trainer):
                self._choose(trainer, module, epoch)
        self._decode(trainer)
        if self._inputs is not None and self._inputs.padded:
            module.freeze_in(epoch)
            first_read = not self.flops.knows(module)
            for batches in (*map(self._entered.get, DOMAINS), *self.lessons.given.values()):
                if batches is not None:
                    batches.first_read = first_read

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Weights that are not those of the last step, an average say, may have another prefix."""
        module = cast(TransferModule, pl_module)
        if trainer.state.fn != TrainerFn.FITTING or module.strategy.averaging is not None:
            self.match(trainer, module, "val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Those of the selected epoch too."""
        self.match(trainer, cast(TransferModule, pl_module), "test")

    def match(self, trainer: Trainer, module: TransferModule, part: str) -> None:
        """Have a part enter where the net, with the weights that it has now, is as it was when activations were kept.

        Args:
            trainer: of the run.
            module: the net.
            part: of the data: `val`, `test`, or what rules are shown.
        """
        if self._off or not self._keys or part in self._refused:
            return
        with undisturbed(module), self._tried(trainer, part):
            found, stages = self.activations(trainer, module), module.backbone.stages
            found.inputs.admit(part)
            # of the last step's weights those that train, of an average's or of another epoch's all are looked at
            own = trainer.state.fn == TrainerFn.FITTING and module.strategy.averaging is None
            others = stages[module.backbone.still() :] if own else stages
            found.changed(others)
            alike = [one for one, key in self._keys.items() if found.key(one) == key]
            self._enter(found, max(alike, default=0), [part])
            found.changed(others)  # training goes on from others

    def state_dict(self) -> dict[str, Any]:
        """What was decided, and how often it helped."""
        return {
            "hits": self.hits,
            "kept": self.kept,
            "keys": self._keys,
            "expected": self._expected,
            "off": self._off and self.settings.use != "off",
            "taught": self.lessons.decided,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on alike."""
        self._served, self.kept, self._keys = state_dict["hits"], list(state_dict["kept"]), dict(state_dict["keys"])
        self._expected, self.lessons.decided = state_dict["expected"], state_dict.get("taught")
        self._off |= state_dict.get("off", False)

    def activations(self, trainer: Trainer, module: TransferModule) -> Activations:
        """Of the run's net and data, looked at once."""
        if self._found is None:
            strategy, given = module.strategy, self.lessons.given
            reads = {*strategy.activations, *getattr(module.head, "reads", ())}
            # of a batch that has entered, a teacher without lessons of its own goes on as the net does
            reads |= {stage for name in teachers(module) if name not in given for stage in strategy.taught(name)}
            beside = [one.key for one in given.values()]
            kind, inputs = self.settings.kind, self._samples(trainer)
            self._found = Activations(module.backbone, reads, inputs, self.store, kind, self.about, beside)
        return self._found

    def _samples(self, trainer: Trainer) -> Inputs:
        if self._inputs is None:
            self._inputs = Inputs(trainer, cast(TransferData, cast(Any, trainer).datamodule))
        return self._inputs

    def _choose(self, trainer: Trainer, module: TransferModule, epoch: int) -> None:
        known = len(self._depths)
        still = self._still(module, range(max(epoch - 1, 0), int(trainer.max_epochs or 1)))
        if len(self._depths) > known:
            module.freeze_in(epoch)
        before = still.pop(0) if epoch else len(module.backbone.stages)
        found = self.activations(trainer, module)
        found.changed(module.backbone.stages[before:])
        self.kept = [one for one in self.kept if one <= before]
        if still[0] > before or self._expected is None or still != self._expected[1:]:
            self._plan(found, module, still)
        self._expected = still
        for boundary in self.kept:
            self._keys[boundary] = found.key(boundary)
        self._enter(found, max((one for one in self.kept if one <= still[0]), default=0), FITTED)

    def _decode(self, trainer: Trainer) -> None:
        """Before the first step, bring into memory the samples that will be read: of a broken one is said so now."""
        if self._decoded:
            return
        self._decoded = True
        entered = {part for part, batches in self._entered.items() if batches is not None}
        if self._found is not None and self.kept and self._found.ready(max(self.kept), ["test"]):
            entered.add("test")
        data = cast(TransferData, cast(Any, trainer).datamodule)
        data.decode(*(part for part in (*FITTED, "test") if part not in entered))

    def _plan(self, found: Activations, module: TransferModule, still: Sequence[int]) -> None:
        """Decide what is kept for the epochs to come.

        Raises:
            UncacheableError: nothing can be.
        """
        same = list(accumulate([len(found.backbone.stages), *still[:-1]], min))
        most = max(map(min, still, same))
        if not most:
            return
        limit = self.settings.gigabytes * 1e9 - taken(self.lessons.given.values())
        self.kept = boundaries(found, self.settings, still, same, self._open_to(module, most), limit)
        for boundary in self.kept:  # in one pass, each from the one before
            for name in FITTED:
                found.batches(name, boundary, self.kept)

    def _open_to(self, module: TransferModule, most: int) -> int:
        """How many of the first stages can be passed, `most` at most: those in which other nets are like this one.

        A teacher without lessons of its own reads the inputs too, and so does a loss's own copy of the net.

        Raises:
            UncacheableError: none, or the inputs are read beside the net.
        """
        if (adapter := module.strategy.adapter) is not None and adapter.reads_input:
            raise UncacheableError("the strategy's adapter reads the inputs beside the net")
        entered = {id(teachers(module)[name].backbone) for name in self.lessons.given}
        others = [net for net in _nets(module) if net is not module.backbone and id(net) not in entered]
        if not (found := min([most, *(len(list(alike(module.backbone, other, most))) for other in others)])):
            raise UncacheableError("another net, whose first stages are others than this one's, reads the inputs too")
        return found

    def _enter(self, found: Activations, boundary: int, parts: Iterable[str]) -> None:
        for part in parts:
            batches = found.batches(part, boundary, self.kept) if boundary else None
            self.enter(found.inputs.data, part, batches)

    def _leave(self, part: str) -> None:
        before = self._entered.pop(part, None)
        self._served += before.served if before is not None else 0

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
    def _tried(self, trainer: Trainer, *parts: str) -> Iterator[None]:
        """What keeps the cache from being used ends its use, for good or for some parts of the data, not the run."""
        try:
            yield
        except (CacheError, UncacheableError) as error:
            data, broken = cast(TransferData, cast(Any, trainer).datamodule), isinstance(error, CacheError)
            where = f" for {' and '.join(parts)}" if parts else ""
            _log.log(logging.WARNING if broken else logging.INFO, "cache off%s: %s", where, error)
            self._refused.update(parts)
            if not parts:
                self._off, self.kept = True, []
                if broken:
                    self.lessons.end(data)
            for part in parts or {*FITTED, "test", *self._entered}:
                self.enter(data, part, None)


def _nets(module: nn.Module) -> Iterator[Backbone]:
    """Every backbone, but those inside others."""
    for part in module.children():
        if isinstance(part, Backbone):
            yield part
        else:
            yield from _nets(part)
