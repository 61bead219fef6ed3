"""Batches fetched from samples, here or by processes beside this one."""

from typing import Any

import torch
from torch.utils.data import DataLoader

from transferlab.data.samples import Deferred, InMemory, Samples


def fetching(samples: Any, sampler: Any, workers: int) -> DataLoader[Any]:
    """Fetches batches as they are, one a ticket or list of positions.

    Args:
        samples: give the batch of a ticket or list.
        sampler: gives these.
        workers: processes that fetch; 0: this one does.
    """
    # A batch is fetched by one ticket. The loader's own generator keeps it from drawing on the global one.
    return DataLoader(
        samples,
        sampler=sampler,
        batch_size=None,
        collate_fn=_whole,
        num_workers=workers,
        generator=torch.Generator(),
        persistent_workers=workers > 0,
    )


def at_hand(samples: Samples) -> bool:
    """Whether a batch is fetched in less time than a process takes to send it."""
    return isinstance(samples, InMemory | Deferred)


def _whole(batch: Any) -> Any:
    """A batch is fetched as the tensors that it is to be; torch's own conversion would walk through it for nothing."""
    return batch
