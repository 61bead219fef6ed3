"""Sequences of different lengths that lie in memory end to end; a batch is padded to its own longest."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from transferlab.inputs.base import Input
from transferlab.values import Seq


@dataclass(frozen=True)
class Ragged:
    """N labelled sequences, ready for a net.

    Attributes:
        steps: of all sequences, one behind the other, (total, ...): token ids, samples of waves, frames.
        lengths: of each sequence, (N,).
        y: labels (N, ...).
        padding: what stands behind a shorter sequence's end.
    """

    steps: Tensor
    lengths: Tensor
    y: Tensor
    padding: float = 0

    @classmethod
    def of(cls, sequences: Sequence[Tensor], y: Tensor, padding: float = 0) -> "Ragged":
        """From sequences (T_i, ...) of one kind."""
        return cls(torch.cat(list(sequences)), torch.tensor([len(one) for one in sequences]), y, padding)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Seq, Tensor]:
        index = torch.as_tensor(indices)
        lengths = self.lengths[index]
        ends = self.lengths.cumsum(0)[index]
        # slices, because of a wave the places of its samples would be four times the samples themselves
        rows = [self.steps[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
        h = pad_sequence(rows, batch_first=True, padding_value=self.padding)
        return Seq(h, torch.arange(h.shape[1]) < lengths[:, None]), self.y[index]

    def take(self, indices: Tensor) -> "Ragged":  # noqa: D102
        return replace(self, steps=self.steps[self._places(indices)], lengths=self.lengths[indices], y=self.y[indices])

    def relabelled(self, y: Tensor) -> "Ragged":  # noqa: D102
        return replace(self, y=y)

    def prepared(self, input: Input) -> "Ragged":  # noqa: D102
        return self

    def fingerprint(self) -> str:  # noqa: D102
        digest = hashlib.blake2b(digest_size=8)
        for tensor in (self.steps, self.lengths, self.y):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _places(self, index: Tensor) -> Tensor:
        """Where the steps of the sequences at `index` lie."""
        lengths = self.lengths[index]
        starts = (self.lengths.cumsum(0) - self.lengths)[index]
        within = torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        return starts.repeat_interleave(lengths) + within
