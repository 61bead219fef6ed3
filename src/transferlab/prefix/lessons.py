"""What teachers make of the training samples: the same in every epoch, so that it can be kept."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, cast

from transferlab.cache.packing import UncacheableError
from transferlab.cache.planning import Work
from transferlab.cache.store import Store
from transferlab.data.module import TransferData
from transferlab.losses.teacher import Teacher
from transferlab.module import TransferModule
from transferlab.prefix.activations import Activations, Batches
from transferlab.prefix.deciding import check, paying
from transferlab.prefix.inputs import Inputs
from transferlab.prefix.settings import Settings

_log = logging.getLogger(__name__)


def teachers(module: TransferModule) -> Mapping[str, Teacher]:
    """Those of a run, by name."""
    return cast(Mapping[str, Teacher], module.teachers)


class Lessons:
    """Those of a run's teachers that are kept.

    Args:
        settings: of the run.
        store: of all runs.
        augmentation: what changes samples, in words.

    Attributes:
        decided: the teachers whose lessons are kept; None: that is to be decided.
        given: what they are by teacher, in this process.
    """

    def __init__(self, settings: Settings, store: Store, augmentation: Any) -> None:
        self.settings, self.store, self.augmentation = settings, store, augmentation
        self.decided: list[str] | None = None
        self.given: dict[str, Batches] = {}
        self._begun = False
        self._served = 0

    @property
    def served(self) -> int:
        """How many samples of lessons batches have brought along so far."""
        return self._served + sum(one.served for one in self.given.values())

    def begin(self, module: TransferModule, inputs: Inputs, epochs: int) -> bool:
        """Have batches bring along what is kept, computed now where it is not there.

        Args:
            module: of the run.
            inputs: its samples.
            epochs: to come.

        Returns:
            Whether lessons are missing that were decided on.

        Raises:
            CacheError: the disk is full, or cannot be written.
        """
        if self._begun or not module.strategy.asks:
            return False
        self._begun, before = True, self.decided
        try:
            check(inputs)
        except UncacheableError as error:
            _log.info("cache off for teachers: %s", error)
            return False
        for name in teachers(module) if before is None else before:
            try:
                self._keep(name, module, inputs, epochs)
            except UncacheableError as error:
                _log.info("cache off for the teacher '%s': %s", name, error)
        self.decided = list(self.given)
        inputs.data.taught = self.given
        return before is not None and self.decided != before

    def end(self, data: TransferData) -> None:
        """From the next pass on, batches bring along nothing."""
        self._served, self.given, self.decided = self.served, {}, []
        data.taught = {}

    def _keep(self, name: str, module: TransferModule, inputs: Inputs, epochs: int) -> None:
        teacher, kind = teachers(module)[name], self.settings.kind
        about = {**teacher.about, "augmentation": self.augmentation}
        beside = [one.key for one in self.given.values()]
        taught = module.strategy.taught(name)
        activations = Activations(teacher.backbone, taught, inputs, self.store, kind, about, beside)
        if self.decided is not None or self._pays(name, activations, epochs):
            batches = activations.batches(inputs.data.sets.asked, len(teacher.backbone.stages), ())
            self.given |= {name: batches} if batches is not None else {}

    def _pays(self, name: str, activations: Activations, epochs: int) -> bool:
        part = activations.inputs.data.sets.asked
        look, rows, end = activations.look, activations.inputs.rows[part], len(activations.backbone.stages)
        size, every = look.size(end), [end] * epochs
        work = Work(every, every, look.flops, len(rows.samples), len(rows), activations.inputs.device.type)
        limit = self.settings.gigabytes * 1e9 - taken(self.given.values())
        pays = bool(paying(activations, self.settings, work, {end: size}, [part], limit))
        costs = f"{look.flops[end] / 1e6:.3g} million operations and {size} bytes a sample"
        if pays:
            _log.info("cache on for the teacher '%s': %s, done once for %d epochs", name, costs, epochs)
        else:
            _log.info("cache off for the teacher '%s': %s do not pay in %d epochs", name, costs, epochs)
        return pays


def taken(batches: Iterable[Batches]) -> int:
    """Bytes of all their rows."""
    return sum(one.nbytes for one in batches)
