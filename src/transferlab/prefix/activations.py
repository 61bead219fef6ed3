"""What the first stages of a net make of a run's samples: found in the cache, or computed and put there."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor

from transferlab.backbones.base import Backbone
from transferlab.cache.packing import UncacheableError
from transferlab.cache.segments import Shelf
from transferlab.cache.store import Store
from transferlab.data.rows import Rows
from transferlab.inputs.arrays import ArrayInput
from transferlab.prefix.folding import Folded
from transferlab.prefix.inputs import Inputs
from transferlab.prefix.keys import Keys
from transferlab.prefix.looking import Look
from transferlab.values import Entered, Value, each

_BATCH = 64


class Activations:
    """Of one net, at the boundaries between its stages; a boundary is the number of stages before it.

    Args:
        backbone: the net.
        reads: its stages whose outputs somebody reads.
        inputs: the samples.
        store: of all runs.
        kind: of floating-point numbers in files; None: as they are computed.
        about: the net and what changes samples, as far as weights and seeds do not say it.
        beside: keys that the run uses too, for which room stays.
    """

    def __init__(
        self,
        backbone: Backbone,
        reads: Collection[str],
        inputs: Inputs,
        store: Store,
        kind: torch.dtype | None,
        about: Mapping[str, Any],
        beside: Sequence[str] = (),
    ) -> None:
        self.backbone, self.inputs, self.store, self.kind = backbone, inputs, store, kind
        self._beside = beside
        self.look = Look(backbone, reads, inputs, kind)
        self._reads = [name for name in backbone.stages if name in reads]
        self._keys = Keys(backbone, {**about, "precision": str(inputs.trainer.precision), "dtype": str(kind)})
        self._shelves: dict[tuple[str, str], Shelf] = {}
        self._fold: tuple[str, Folded] | None = None

    def follow(self, other: "Activations") -> None:
        """Take over what another run has found of the same net, if it means the same by it."""
        same = other.backbone is self.backbone and other._reads == self._reads
        if same and other._keys.about == self._keys.about:
            self._keys.follow(other._keys)
            self.look = other.look

    def changed(self, stages: Iterable[str]) -> None:
        """These have other weights than before."""
        self._keys.changed(stages)

    def name(self, boundary: int) -> str:
        """Of what follows on a boundary."""
        return self._following(boundary) or "head"

    def key(self, boundary: int) -> str:
        """By what activations at a boundary are found."""
        return self._keys(self.backbone.stages[:boundary], self._read_before(boundary))

    def content(self, boundary: int, part: str) -> bytes:
        """By what a part's activations at a boundary are the same as another's."""
        known = self.inputs.known(part)
        return hashlib.blake2b(b"".join([self.key(boundary).encode(), *known]), digest_size=16).digest()

    def ready(self, boundary: int, parts: Iterable[str]) -> bool:
        """Whether all activations of these parts are in the cache."""
        key = self.key(boundary)
        return all(not self._shelf(key, part).missing for part in parts if part in self.inputs.rows)

    def batches(self, part: str, boundary: int, below: Collection[int]) -> "Batches | None":
        """What enters the net at a boundary in place of a part's batches, computed now where it is not there.

        Args:
            part: of the data.
            boundary: that is entered.
            below: others, from whose activations these may be computed.

        Returns:
            None where there is no such part, or another process computes the same and is not to be waited for.

        Raises:
            CacheError: the disk is full, or cannot be written.
            UncacheableError: activations or labels cannot be kept by sample.
        """
        if part not in self.inputs.rows:
            return None
        self.inputs.check_labels(part)
        key = self.key(boundary)
        if self._shelf(key, part).missing:
            with self.store.held(key) as held:
                self._shelves.pop((key, part))  # another may have computed them meanwhile
                if held and self._shelf(key, part).missing:
                    self._compute(key, part, boundary, below)
            if self._shelf(key, part).missing:
                return None
        rows, flops = self.inputs.rows[part], self.look.flops[boundary]
        nbytes = self.look.size(boundary) * len(rows)
        return Batches(self._shelf(key, part), rows, self._following(boundary), flops, key, nbytes)

    def _compute(self, key: str, part: str, boundary: int, below: Collection[int]) -> None:
        missing = self._shelf(key, part).missing
        known = self.inputs.known(part)
        # numbers that were rounded on the way would depend on who computed them
        lower = [one for one in below if one < boundary and self.kind is None]
        start = max((one for one in lower if self.ready(one, [part])), default=0)
        size = self.look.size(boundary)
        needed = size * len(missing)
        keep = [*self._beside, *(self.key(one) for one in (*below, boundary))]
        if not self.store.make_room(needed, *keep):
            raise UncacheableError(
                f"{needed / 1e9:.3g} GB are more than cache.gigabytes={self.store.most / 1e9:.3g} leaves"
            )
        about = {"backbone": self.backbone.name, "before": self.name(boundary), "bytes": size}
        rows = self._made(part, missing, boundary, start)
        self.store.add(key, [known[position] for position in missing], rows, self.kind, about)
        self.store.make_room(0, *keep)  # others may have filled other keys meanwhile
        self._shelves.pop((key, part))

    def _made(self, part: str, positions: Sequence[int], boundary: int, start: int) -> Iterator[tuple[Any, int]]:
        """Batches of what is kept of samples at a boundary, with the number of samples in each."""
        size, folded = self._batch(), self._folded(boundary)
        for x, count in self._entering(part, positions, start, size):
            with folded.within(), self.inputs.computing():
                passed = self._passed(_filled(x, size), boundary)
            yield {name: each(itemgetter(slice(count)), kept) for name, kept in passed.items()}, count

    def _entering(
        self, part: str, positions: Sequence[int], start: int, size: int
    ) -> Iterator[tuple[Value | Entered, int]]:
        """Batches of samples as they were kept at a boundary; 0: as they are read."""
        if not start:
            for x, y in self.inputs.batches(part, positions, size):
                yield x, len(y)
            return
        shelf = self._shelf(self.key(start), part)
        for first in range(0, len(positions), size):
            batch = positions[first : first + size]
            entered = Entered(*_valued(shelf.fetch(batch)), self.backbone.stages[start], 0.0)
            yield move_data_to_device(entered, self.inputs.device), len(batch)

    def _folded(self, boundary: int) -> Folded:
        """The stages before a boundary, as they are now."""
        key = self.key(boundary)
        if self._fold is None or self._fold[0] != key:
            self._fold = key, Folded(self.backbone, lambda: self._passed(self.inputs.example(2), boundary))
        return self._fold[1]

    def _batch(self) -> int:
        """How many samples pass at once."""
        taken = self.inputs.data.input
        on_cpu = self.inputs.device.type == "cpu"
        return taken.at_once(_BATCH) if on_cpu and isinstance(taken, ArrayInput) else _BATCH

    @torch.no_grad()
    def _passed(self, x: Value | Entered, boundary: int) -> dict[str, Any]:
        """A batch's value at a boundary under the name '', and beside it what is kept of stages before."""
        value, kept = self.backbone.observe(x, self._read_before(boundary), stop=self._following(boundary))
        return {"": value, **kept}

    def _read_before(self, boundary: int) -> list[str]:
        before = self.backbone.stages[:boundary]
        return [name for name in self._reads if name in before]

    def _following(self, boundary: int) -> str | None:
        return self.backbone.stages[boundary] if boundary < len(self.backbone.stages) else None

    def _shelf(self, key: str, part: str) -> Shelf:
        if (key, part) not in self._shelves:
            self._shelves[key, part] = self.store.shelf(key, self.inputs.known(part))
        return self._shelves[key, part]


class Batches:
    """Batches of one part that enter the net at a boundary.

    Args:
        shelf: that holds them.
        rows: of the part.
        stage: the next; None: there is none.
        flops: of the stages passed, a sample.
        key: of the rows in the cache.
        nbytes: of all of them.
    """

    def __init__(self, shelf: Shelf, rows: Rows, stage: str | None, flops: float, key: str, nbytes: int) -> None:
        self.key, self.nbytes = key, nbytes
        self._shelf, self._rows, self._stage, self._flops = shelf, rows, stage, flops
        self.served = 0
        self.first_read, self.to_end = False, stage is None

    def __call__(self, positions: Tensor, turns: Sequence[int] | None = None) -> Entered:
        """The batch of the samples at these positions (B,)."""
        self.served += len(positions)
        fetched = self._shelf.fetch(self._rows.numbers(positions, turns))
        return Entered(*_valued(fetched), self._stage, self._flops)


def _filled(x: Value | Entered, size: int) -> Value | Entered:
    """A batch of arrays with its last sample again and again, until it is full.

    What comes out of a batch of another size may have other last bits, and which samples are missing depends on what
    other runs, or killed ones, have left.
    """
    if isinstance(x, Entered):
        return x._replace(
            value=_filled(x.value, size), kept={name: _filled(kept, size) for name, kept in x.kept.items()}
        )
    if not isinstance(x, Tensor) or len(x) >= size:
        return x
    return torch.cat([x, x[-1:].expand(size - len(x), *x.shape[1:])])


def _valued(fetched: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    return fetched[""], {name: value for name, value in fetched.items() if name}
