"""Labels and values that are made to be missing, to see what a strategy does without them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from transferlab.data.duplicates import Identities, Traced, digests, identities
from transferlab.data.ragged import Ragged
from transferlab.data.samples import Deferred, InMemory, Samples, Splits, groups
from transferlab.errors import InputError
from transferlab.inputs.base import Input
from transferlab.inputs.text import TextInput
from transferlab.seeding import derive
from transferlab.values import Seq, Value


@runtime_checkable
class Hiding(Protocol):
    """Samples that hide values in a way of their own."""

    def hidden(self, share: float, seed: int) -> Samples:
        """The same samples with each value missing with the probability `share`."""
        ...


def without_values(data: Splits, share: float) -> Splits:
    """A set in which each input value is missing with the probability `share`, the same ones in every run.

    What is missing depends on a sample's place in its split alone, so that it is missing under every budget of labels,
    and in training, validation and test alike. A missing cell of `target=table` is empty, and filled as its encoding
    says; a pixel, a step of a series and a sample of a wave are 0; a token of a text is left out.

    Raises:
        InputError: a share outside [0, 1).
    """
    if not 0 <= share < 1:
        raise InputError(f"target.missing_values={share}: a share in [0, 1)")
    if share == 0:
        return data
    test = None if data.test is None else _hidden(data.test, share, derive(0, "missing values", "test"))
    return replace(data, train=_hidden(data.train, share, derive(0, "missing values", "train")), test=test)


def without_labels(y: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """The same labels with the share of those known, rounded, replaced by NaN.

    Args:
        y: numbers to predict or labels of 0 and 1, (N,) or (N, K), NaN where one is missing.
        share: in [0, 1).
        rng: draws which; a larger share hides these and more.

    Raises:
        InputError: an output has no label left.
    """
    known = torch.nonzero(~y.flatten().isnan())[:, 0].numpy()
    chosen = rng.permutation(known)[: round(share * len(known))]
    left = y.flatten().clone()
    left[torch.from_numpy(chosen)] = torch.nan
    left = left.reshape(y.shape)
    if (emptied := left.isnan().all(0)).any():
        raise InputError(
            f"target.missing_labels={share} leaves output {int(emptied.flatten().long().argmax())} no label to train "
            "on; hide fewer"
        )
    return left


@dataclass(frozen=True)
class Holed:
    """Samples of which values are hidden once they are as a net takes them.

    Attributes:
        samples: as they were read.
        places: of each in its split, (N,).
        share: the probability that a value is hidden.
        seed: of the split.
    """

    samples: Samples
    places: Tensor
    share: float
    seed: int

    @property
    def y(self) -> Tensor:  # noqa: D102
        return self.samples.y

    @property
    def groups(self) -> Sequence[int] | None:  # noqa: D102
        found = groups(self.samples)
        return None if found is None else found.tolist()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Value, Tensor]:
        x, y = self.samples[indices]
        return self._holed(x, self.places[torch.as_tensor(indices)]), y

    def take(self, indices: Tensor) -> "Holed":  # noqa: D102
        return replace(self, samples=self.samples.take(indices), places=self.places[indices])

    def relabelled(self, y: Tensor) -> "Holed":  # noqa: D102
        return replace(self, samples=self.samples.relabelled(y))

    def prepared(self, input: Input) -> Samples:
        """What lies in memory is changed once, there; the rest a batch at a time."""
        samples = self.samples.prepared(input)
        if isinstance(samples, Deferred):
            x, y = samples[range(len(samples))]
            assert isinstance(x, Tensor)
            samples = InMemory(x, y)
        if isinstance(samples, InMemory):
            return InMemory(self._zeroed_cells(samples.x, self.places), samples.y)
        if isinstance(samples, Ragged):
            return self._shortened(samples) if isinstance(input, TextInput) else self._zeroed(samples)
        ready = replace(self, samples=samples)
        ready[[0]]  # data that cannot be hidden are found now, not in the first batch
        return ready

    def digests(self) -> list[bytes]:
        """Of each sample as it was read."""
        return digests(self.samples)

    def identities(self) -> Identities:
        """Likewise."""
        return identities(self.samples)

    def seen(self) -> list[bytes]:
        """Of each sample with what is hidden of it."""
        places = zip(digests(self.samples), self.places.tolist(), strict=True)
        return [one + f"{self.share} {self.seed} {place}".encode() for one, place in places]

    def place(self, index: int) -> str:
        """Where a sample comes from."""
        return self.samples.place(index) if isinstance(self.samples, Traced) else f"sample {index}"

    def fingerprint(self) -> str:  # noqa: D102
        digest = hashlib.blake2b(f"{self.samples.fingerprint()} {self.share} {self.seed}".encode(), digest_size=8)
        digest.update(self.places.numpy().tobytes())
        return digest.hexdigest()

    def _holed(self, x: Value, places: Tensor) -> Value:
        """A batch of arrays, or of sequences (B, T, ...) by steps."""
        if isinstance(x, Seq):
            gone = self._gone(places, x.h.shape[1])
            return Seq(x.h.masked_fill(gone.reshape(*gone.shape, *[1] * (x.h.ndim - 2)), 0), x.mask)
        if not isinstance(x, Tensor):
            raise InputError(f"target.missing_values={self.share}: these data come in pairs, which is not supported")
        return self._zeroed_cells(x, places)

    def _zeroed_cells(self, x: Tensor, places: Tensor) -> Tensor:
        """Images (B, C, H, W) by pixels.

        Raises:
            InputError: these are ids, or rows of a table, of which a missing cell is no zero.
        """
        if x.ndim == 2 and x.is_floating_point():
            raise InputError(
                f"target.missing_values={self.share}: cells of tables in arrays are not filled; target=table fills them"
            )
        if x.dtype == torch.int64:
            raise InputError(f"target.missing_values={self.share}: these data are ids, of which none can be missing")
        gone = self._gone(places, x[:1, :1].numel())
        return x.masked_fill(gone.reshape(-1, 1, *x.shape[2:]), 0)

    def _zeroed(self, samples: Ragged) -> Ragged:
        gone = torch.cat(
            [self._gone(p[None], n)[0] for p, n in zip(self.places, samples.lengths.tolist(), strict=True)]
        )
        shape = (-1, *[1] * (samples.steps.ndim - 1))
        return replace(samples, steps=samples.steps.masked_fill(gone.reshape(shape), 0))

    def _shortened(self, samples: Ragged) -> Ragged:
        """Texts without the missing tokens; the first and the last stay, which may be marks that a net relies on."""
        if samples.y.ndim > 1 and not samples.y.is_floating_point():
            raise InputError(
                f"target.missing_values={self.share}: these tokens have labels of their own, so none is left out"
            )
        texts = torch.split(samples.steps, samples.lengths.tolist())
        kept = []
        for text, place in zip(texts, self.places, strict=True):
            gone = self._gone(place[None], len(text))[0]
            gone[0] = gone[-1] = False
            kept.append(text[~gone])
        return Ragged.of(kept, samples.y, samples.padding)

    def _gone(self, places: Tensor, count: int) -> Tensor:
        """Which of the `count` values of each sample are missing, (B, count)."""
        drawn = [np.random.default_rng((self.seed, place)).random(count) < self.share for place in places.tolist()]
        return torch.from_numpy(np.stack(drawn))


def _hidden(samples: Samples, share: float, seed: int) -> Samples:
    if isinstance(samples, Hiding):
        return samples.hidden(share, seed)
    return Holed(samples, torch.arange(len(samples)), share, seed)
