"""Several sets as one, each with its share of what is drawn."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from transferlab.data import duplicates, vault
from transferlab.data.parts import Fitted, fitted_on
from transferlab.data.samples import Deferred, Samples, Splits
from transferlab.data.target import Target, has_classes
from transferlab.errors import InputError, unknown
from transferlab.inputs.base import Input
from transferlab.seeding import derive
from transferlab.values import Seq, Value


@dataclass(frozen=True)
class Joined:
    """Samples of several sets.

    Attributes:
        parts: the sets, without labels.
        index: of each sample, its place in all parts one after the other (N,).
        y: labels (N, ...).
    """

    parts: tuple[Samples, ...]
    index: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Value, Tensor]:
        wanted = torch.as_tensor(indices, dtype=torch.long)
        places, found, order, first = self.index[wanted], [], [], 0
        for part in self.parts:
            mine = ((places >= first) & (places < first + len(part))).nonzero()[:, 0]
            if len(mine):
                found.append(part[(places[mine] - first).tolist()][0])
                order.append(mine)
            first += len(part)
        return _picked(_together(found), torch.cat(order).argsort()), self.y[wanted]

    @property
    def groups(self) -> Sequence[int]:
        """What comes several times belongs together, so that no cut has it on both sides."""
        found: list[int] = self.index.tolist()
        return found

    def take(self, indices: Tensor) -> "Joined":  # noqa: D102
        return replace(self, index=self.index[indices], y=self.y[indices])

    def relabelled(self, y: Tensor) -> "Joined":  # noqa: D102
        return replace(self, y=y)

    def prepared(self, input: Input) -> "Joined":  # noqa: D102
        return replace(self, parts=tuple(part.prepared(input) for part in self.parts))

    def fitted_on(self, train: Samples) -> "Joined":
        """Encoded by what the samples of another set say.

        Raises:
            InputError: they are these themselves, which are encoded by nothing in common.
        """
        if not any(isinstance(part, Fitted) for part in self.parts):
            return self
        if isinstance(train, Joined):
            raise InputError("tables of several files are scaled and filled by one of them: write them into one file")
        return replace(self, parts=tuple(fitted_on(part, train) for part in self.parts))

    def decode(self) -> None:
        """Bring into memory what will lie there."""
        for part in self.parts:
            if isinstance(part, Deferred):
                part.decode()

    def digests(self) -> list[bytes]:
        """Of each sample, of its input alone."""
        known = [digest for part in self.parts for digest in duplicates.digests(part)]
        return [known[place] for place in self.index.tolist()]

    def identities(self) -> duplicates.Identities:
        """By what each is known from set to set."""
        known = [duplicates.identities(part) for part in self.parts]
        width = max(one.shape[1] for one in known)
        wide = [np.concatenate([one, np.repeat(one[:, :1], width - one.shape[1], 1)], 1) for one in known]
        found: duplicates.Identities = np.concatenate(wide)[self.index.numpy()]
        return found

    def fingerprint(self) -> str:  # noqa: D102
        digest = hashlib.blake2b(digest_size=8)
        for part in self.parts:
            digest.update(part.fingerprint().encode())
        for tensor in (self.index, self.y):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def several(of: Mapping[str, Target], weights: Mapping[str, float]) -> Splits:
    """Sets of the same classes, matched by name, as one.

    Args:
        of: the sets by name; what they say of labels and splits is not looked at.
        weights: of some or all of them: what share of the training samples is of each is in proportion to its samples
            times its weight, 1 where none is given. Samples of a set with a larger share come several times in a pass,
            of one with a smaller share some do not come at all, the same ones in every pass.

    Raises:
        InputError: fewer than two sets, classes that differ, labels that are no classes, or a weight of no set or of 0.
    """
    if len(of) < 2:
        raise InputError(
            "target=several joins two sets or more: '+target@target.data.of.first=mnist5k' "
            "'+target@target.data.of.second=digits', for a source with source.pretrain.target in place of target"
        )
    if strange := set(weights) - set(of):
        raise unknown("set with a weight", min(strange), sorted(of))
    if wrong := [name for name, weight in weights.items() if not weight > 0]:
        raise InputError(f"the weight of '{wrong[0]}' is {weights[wrong[0]]}: a number above 0; or leave the set out")
    data = {name: target.data for name, target in of.items()}
    for name, splits in data.items():
        if not has_classes(splits.train.y, splits.classes):
            raise InputError(f"target=several joins sets of classes, and the labels of '{name}' are none")
    classes = next(iter(data.values())).classes
    for splits in data.values():
        vault.classes(splits.classes, classes, "same")
    sizes = {name: len(splits.train) for name, splits in data.items()}
    asked = {name: size * float(weights.get(name, 1.0)) for name, size in sizes.items()}
    total, wanted = sum(sizes.values()), sum(asked.values())
    drawn = [_drawn(size, round(total * asked[name] / wanted), name) for name, size in sizes.items()]
    train = _joined([(splits.train, splits.classes) for splits in data.values()], classes, drawn)
    held = [(splits.test, splits.classes) for splits in data.values() if splits.test is not None]
    test = _joined(held, classes, [torch.arange(len(one)) for one, _ in held]) if len(held) == len(data) else None
    return Splits(train, test, classes, sum(splits.unlabelled for splits in data.values()))


def _drawn(size: int, wanted: int, name: str) -> Tensor:
    """Places of `wanted` samples of `size`, each as often as another, give or take one."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(derive(0, "several", name)))
    return order.repeat(-(-wanted // size))[:wanted].sort().values


def _joined(sets: Sequence[tuple[Samples, tuple[str, ...]]], classes: Sequence[str], drawn: Sequence[Tensor]) -> Joined:
    labelled = [vault.numbered(samples, names, classes) for samples, names in sets]
    firsts = np.cumsum([0, *(len(one) for one in labelled)])
    index = torch.cat([places + int(first) for places, first in zip(drawn, firsts, strict=False)])
    y = torch.cat([one.y for one in labelled])[index]
    return Joined(tuple(vault.sealed(one) for one in labelled), index, y)


def _together(values: Sequence[Any]) -> Any:
    """Batches as one; sequences are padded to the longest."""
    if isinstance(values[0], Tensor):
        if len({tuple(value.shape[1:]) for value in values}) > 1:
            raise InputError(
                "sets that are joined must have inputs of one shape: choose a backbone that resizes them, or "
                f"others (here {' and '.join(str(tuple(value.shape[1:])) for value in values)})"
            )
        return torch.cat(list(values))
    if isinstance(values[0], Seq):
        longest = max(value.h.shape[1] for value in values)
        values = [Seq(*(_padded(part, longest) for part in value)) for value in values]
    return type(values[0])(*(_together(parts) for parts in zip(*values, strict=True)))


def _padded(part: Tensor, length: int) -> Tensor:
    return pad(part, (*[0, 0] * (part.ndim - 2), 0, length - part.shape[1]))


def _picked(value: Any, order: Tensor) -> Any:
    return value[order] if isinstance(value, Tensor) else type(value)(*(_picked(part, order) for part in value))
