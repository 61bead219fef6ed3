"""Batches by domain: `target` where its labels train, `unlabeled` and `source` where the strategy reads them."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch import Tensor
from torch.utils.data import Sampler

from transferlab.data.augmentation.base import NONE, Augmentation
from transferlab.data.batches import InOrder, Shuffled, Stream, Ticket
from transferlab.data.fetching import at_hand, fetching
from transferlab.data.loading import TAUGHT, Beside, Loader, Passed
from transferlab.data.parts import Parts
from transferlab.data.rows import Rows
from transferlab.data.samples import Deferred, Samples, Splits
from transferlab.data.sets import NO_SOURCE, Sets
from transferlab.data.turns import Training
from transferlab.data.vault import hidden
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.base import Input
from transferlab.seeding import derive
from transferlab.values import Entered, Value

Domain: TypeAlias = tuple[Value, Tensor]
"""Inputs x as the backbone takes them, and labels y (B, ...)."""

EVALUATION_BATCH = 256
"""Samples of a batch of validation or test at most."""


class TransferData(LightningDataModule):
    """Loads what a run trains, selects and is tested on.

    Args:
        parts: the target, cut.
        source: its data, or None; its training split is read where the strategy reads it, its test split by selection
            rules alone.
        reads: the domains that the strategy reads.
        input: what the backbone takes.
        reconstructs: whether the labels of a batch are its normalised inputs, in training as they were before what
            changes them once they are normalised.
        batch_size: samples of each domain in a step.
        workers: loader processes for samples that do not lie in memory, and for costly augmentation.
        seed: of the run.
        augmentation: what becomes of training samples, the source's likewise; None: nothing.
        studies: the domains that it goes through once, before the first step.
        views: of a training sample that changes; None: as many as there are turns.
        taught: whether what teachers make of the target's samples may come along with the batches.
        strong: what the domain `strong` is changed by, where it is read.

    Raises:
        InputError: the strategy reads a source that has no data, or the data do not fit the backbone.
    """

    def __init__(
        self,
        parts: Parts,
        source: Splits | None,
        reads: frozenset[str],
        input: Input,
        reconstructs: bool,
        batch_size: int,
        workers: int,
        seed: int,
        augmentation: Augmentation | None = None,
        studies: frozenset[str] = frozenset(),
        views: int | None = None,
        taught: bool = False,
        strong: Augmentation | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: at least 1")
        if "strong" in reads and not strong:
            raise InputError("a loss compares two views of an input: set +augmentation@strategy.views=strong")
        self.sets = Sets(parts, source, reads, studies, input)
        self.input, self.reconstructs = input, reconstructs
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self._views = views
        self._passed: dict[str, Passed | None] = {}
        self._taught = taught
        self.taught: Mapping[str, Passed] = {}
        """Of teachers, by name, what they make of the target's training samples, from the next pass on."""
        # fit for the domain that it is made for: sets may have different classes
        chosen = augmentation or NONE
        classes = len(parts.classes)
        self._augmentations: dict[str, Augmentation] = {}
        for domain in self.sets.domains:
            own = len(source.classes) if domain == "source" and source is not None else classes
            fit = strong if domain == "strong" and strong is not None else chosen
            if domain in ("unlabeled", "strong"):  # labels that are not there cannot be mixed
                fit = Augmentation(fit.each, {})
            self._augmentations[domain] = fit.prepared(input, self.sets.domains[domain].y, own)

    def train_dataloader(self) -> CombinedLoader:
        """A mapping of domains, and of what goes with them; an epoch is one pass over the target."""
        domains = self.sets.domains
        samplers = {domain: self._sampler(domain, samples) for domain, samples in domains.items()}
        loaders: dict[str, Loader | Beside] = {
            domain: self._training_loader(domains[domain], sampler, domain) for domain, sampler in samplers.items()
        }
        if self._taught and self.sets.asked in samplers:
            loaders[TAUGHT] = Beside(samplers[self.sets.asked], lambda: self.taught)
        return CombinedLoader(loaders, mode="min_size")

    def order(self) -> Shuffled:
        """Which of the samples that an epoch passes over make up each batch."""
        return Shuffled(len(self.sets.passed_over), self.batch_size, self.seed)

    def _sampler(self, domain: str, samples: Samples) -> Sampler[Ticket]:
        order = self.order()
        if samples is self.sets.passed_over:
            return order
        return Stream(len(samples), self.batch_size, len(order), derive(self.seed, domain))

    def studied(self, domain: str, size: int) -> Iterator[Domain]:
        """The training samples of a domain in order, without augmentation, in batches of `size` at most.

        As a loader gives them: they are normalised on their way to the device.

        Raises:
            InputError: the source has no data.
        """
        samples = self.sets.whole(domain)
        if samples is None or not len(samples):
            raise InputError(NO_SOURCE if domain == "source" else f"the run has no samples of the domain '{domain}'")
        for batch in torch.split(torch.arange(len(samples)), size):
            yield samples[batch.tolist()]

    def rehearsal(self, size: int) -> Mapping[str, Domain]:
        """A batch of the first samples of each domain, as training would see them."""
        found = {}
        for domain, samples in self.sets.domains.items():
            training = self._training(samples, domain)
            indices = list(range(min(size, len(samples))))
            found[domain] = training[Ticket(indices, [0] * len(indices))]
        batch: Mapping[str, Domain] = self.on_after_batch_transfer(found, 0)
        return batch

    def val_dataloader(self) -> Any:
        """The held-out labels, in order; no batches where none are held out."""
        return [] if self.sets.val is None else self._loader(self.sets.val, "val")

    def test_dataloader(self) -> Loader:
        """The test split, in order."""
        return self._loader(self.sets.test, "test")

    def shown(self, part: str, most: int) -> Loader:
        """Samples that selection rules look at, without augmentation, in order and evenly spaced.

        Args:
            part: `source`, `held` or `inputs`, as for `Sets.show`.
            most: samples, at most.
        """
        return self._loader(self.sets.show(part, most), f"shown {part}")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalise on the device; of training batches, change what is changed there.

        A batch that has entered the net was normalised before.
        """
        if isinstance(batch, Mapping):
            domains = {domain: found for domain, found in batch.items() if domain != TAUGHT}
            return {**batch, **{domain: self._taken(domain, *found) for domain, found in domains.items()}}
        return batch if isinstance(batch[0], Entered) else self._normalised(*batch)

    def _taken(self, domain: str, x: Value | Entered, y: Tensor, seeds: list[int]) -> tuple[Value | Entered, Tensor]:
        if isinstance(x, Entered):
            return x, y
        x, y = self._normalised(x, y)
        # who reconstructs is to find what was there before: the labels are set by now
        return self._augmentations[domain].normalised(x, y, seeds) if seeds else (x, y)

    def _normalised(self, x: Value, y: Tensor) -> Domain:
        x = self.input.normalised(x)
        trainer = getattr(self, "trainer", None)
        if trainer is not None:  # it has seen the integers that were read, not these
            x = trainer.precision_plugin.convert_input(x)
        if self.reconstructs and not hidden(y):
            if not isinstance(x, Tensor):
                raise InputError("task=reconstruction rebuilds images and tables, not sequences")
            return x, x
        return x, y

    def decode(self, *parts: str) -> None:
        """Bring samples into memory that will lie there, so that what is wrong with one shows before the first step.

        Args:
            parts: as for `enter`.

        Raises:
            InputError: one cannot be read, or does not fit the backbone.
        """
        for part in parts:
            samples: object = self.sets.whole(part)
            if isinstance(samples, Deferred):
                samples.decode()

    def enter(self, part: str, passed: Passed | None) -> None:
        """From its next pass on, a part gives batches that have entered the net, or None: as they are read.

        Args:
            part: a domain, of which the training samples; `val`; `test`; `shown ...`, once they are.
            passed: makes the batches.
        """
        self._passed[part] = passed

    @property
    def mixes(self) -> bool:
        """Whether the label of a training sample depends on the others of its batch, or on what it is made into."""
        return self.reconstructs or any(one.batch for one in self._augmentations.values())

    @property
    def changes(self) -> bool:
        """Whether training samples look different in every turn, without end."""
        return self._views is None and any(self._augmentations.values())

    def rows(self, part: str) -> Rows | None:
        """A part by row; None where there is no such part.

        Args:
            part: as for `enter`.
        """
        samples = self.sets.read(part)
        if samples is None:
            return None
        workers = 0 if at_hand(samples) else self.workers
        if not self._augmentations.get(part):
            return Rows(samples, None, 1, lambda asked: fetching(samples, asked, workers))
        training = self._training(samples, part)
        return Rows(samples, training.seed, self._views or 1, lambda asked: fetching(training, asked, workers))

    def _training_loader(self, samples: Samples, sampler: Sampler[Ticket], domain: str) -> Loader:
        training = self._training(samples, domain)
        costly = training.augmentation.costly
        reading = fetching(training, sampler, 0 if at_hand(samples) and not costly else self.workers)
        return Loader(reading, sampler, samples.y, partial(self._passed.get, domain), None)

    def _training(self, samples: Samples, domain: str) -> Training:
        return Training(samples, self._augmentations[domain], derive(self.seed, "augmentation", domain), self._views)

    def _loader(self, samples: Samples, part: str) -> Loader:
        sampler, whole = (InOrder(len(samples), size) for size in (self._at_once(), EVALUATION_BATCH))
        reading = fetching(samples, sampler, 0 if at_hand(samples) else self.workers)
        return Loader(reading, sampler, samples.y, partial(self._passed.get, part), whole)

    def _at_once(self) -> int:
        """Samples of a batch of validation or test: of large images fewer on the CPU."""
        on_cpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cpu"
        return (
            self.input.at_once(EVALUATION_BATCH) if on_cpu and isinstance(self.input, ArrayInput) else EVALUATION_BATCH
        )
