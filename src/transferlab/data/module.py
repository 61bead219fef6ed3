"""Batches by domain: `target` always, `source` where the strategy reads it."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from transferlab.data.batches import InOrder, Shuffled, Stream
from transferlab.data.samples import InMemory, Samples, Splits
from transferlab.data.target import Parts
from transferlab.errors import InputError
from transferlab.seeding import derive

Domain: TypeAlias = tuple[Tensor, Tensor]
"""Inputs x (B, ...), normalised float32, and labels y (B,)."""

_EVALUATION_BATCH = 256


class TransferData(LightningDataModule):
    """Loads what a run trains, selects and is tested on.

    Args:
        parts: the target, cut.
        source: the source's data, or None; only its training split is read, whole, and only where `reads` has `source`.
        reads: the domains that the strategy reads.
        shape: (C, H, W) or (D,), what the backbone takes.
        mean: of each channel, for inputs scaled to [0, 1]; None: no normalisation.
        std: likewise.
        batch_size: samples of each domain in a step.
        workers: loader processes for images that do not lie in memory.
        seed: of the run.

    Raises:
        InputError: the strategy reads a source that has no data, or the data do not fit the backbone.
    """

    def __init__(
        self,
        parts: Parts,
        source: Splits | None,
        reads: frozenset[str],
        shape: Sequence[int],
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        batch_size: int,
        workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: at least 1")
        if "source" in reads and source is None:
            raise InputError("the strategy reads source data, but this source has none; choose e.g. source=mnist5k")
        self.train = parts.train.prepared(shape)
        self.val = parts.val.prepared(shape) if parts.val is not None else None
        self.test = parts.test.prepared(shape)
        self.source = source.train.prepared(shape) if source is not None and "source" in reads else None
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        for key, values in (("mean", mean), ("std", std)):
            if values is not None and len(values) not in (1, shape[0]):
                raise InputError(
                    f"backbone.input.{key}={list(values)} has {len(values)} numbers for {shape[0]} channels; "
                    f"give one, or one a channel"
                )
        if (mean is None) != (std is None):
            raise InputError("backbone.input.mean and backbone.input.std belong together: give both, or null for both")
        channels = (-1,) + (1,) * (len(shape) - 1)
        self._mean = None if mean is None else torch.tensor(mean).reshape(channels)
        self._std = None if std is None else torch.tensor(std).reshape(channels)

    def train_dataloader(self) -> CombinedLoader:
        """A mapping of domains; an epoch is one pass over the target."""
        target = Shuffled(len(self.train), self.batch_size, self.seed)
        loaders = {"target": self._loader(self.train, target)}
        if self.source is not None:
            seed = derive(self.seed, "source")
            loaders["source"] = self._loader(self.source, Stream(len(self.source), self.batch_size, len(target), seed))
        return CombinedLoader(loaders, mode="min_size")

    def val_dataloader(self) -> Any:
        """The held-out labels, in order; no batches where none are held out."""
        return [] if self.val is None else self._loader(self.val, InOrder(len(self.val), _EVALUATION_BATCH))

    def test_dataloader(self) -> DataLoader[Domain]:
        """The test split, in order."""
        return self._loader(self.test, InOrder(len(self.test), _EVALUATION_BATCH))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Scale and normalise on the device, where uint8 arrived at a quarter of the bytes."""
        if isinstance(batch, Mapping):
            return {domain: self._normalised(*pair) for domain, pair in batch.items()}
        return self._normalised(*batch)

    def _normalised(self, x: Tensor, y: Tensor) -> Domain:
        x = x.float().div_(255) if x.dtype == torch.uint8 else x.float()
        if self._mean is not None and self._std is not None:
            x = (x - self._mean.to(x.device)).div_(self._std.to(x.device))
        return x, y

    def _loader(self, samples: Samples, sampler: Sampler[list[int]]) -> DataLoader[Domain]:
        workers = 0 if isinstance(samples, InMemory) else self.workers
        # A batch is fetched by one index list. The loader's own generator keeps it from drawing on the global one.
        return DataLoader(
            samples,  # type: ignore[arg-type]
            sampler=sampler,
            batch_size=None,
            num_workers=workers,
            generator=torch.Generator(),
            persistent_workers=workers > 0,
        )
