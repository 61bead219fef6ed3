"""What the first stages of a run's net make of the run's samples: found in the cache, or computed and put there."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning import Trainer
from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.cache.packing import UncacheableError, nbytes, taken_apart
from transferlab.cache.store import Shelf, Store
from transferlab.data.module import PARTS, TransferData
from transferlab.data.rows import DIGEST, Rows
from transferlab.flops import operations
from transferlab.module import TransferModule
from transferlab.values import Entered, Pair, Seq, Value

_FORMAT = 2
_BATCH = 64


class Activations:
    """Of one net and its data, at the boundaries between its stages; a boundary is the number of stages before it.

    Args:
        trainer: knows the device and the precision.
        module: the net.
        data: the samples.
        store: of all runs.
        kind: of floating-point numbers in files; None: as they are computed.
        about: the net and what changes samples, as far as weights and seeds do not say it.
    """

    def __init__(
        self,
        trainer: Trainer,
        module: TransferModule,
        data: TransferData,
        store: Store,
        kind: torch.dtype | None,
        about: Mapping[str, Any],
    ) -> None:
        self.trainer, self.module, self.data, self.store, self.kind = trainer, module, data, store, kind
        self.backbone = module.backbone
        self.rows = {part: rows for part in PARTS if (rows := data.rows(part)) is not None and len(rows)}
        self._about = {
            **about,
            "format": _FORMAT,
            "precision": str(trainer.precision),
            "dtype": str(kind),
            "torch": torch.__version__,
        }
        self._weights: dict[str, str] = {}
        self._digests: dict[str, list[bytes]] = {}
        self._shelves: dict[tuple[str, str], Shelf] = {}
        self._labelled: set[str] = set()

    def follow(self, other: "Activations") -> None:
        """Take over what another run has found of the same net, if it means the same by it."""
        if other.backbone is self.backbone and other._about == self._about and other._reads_all == self._reads_all:
            self._weights = other._weights
            self._looked = other._looked

    @cached_property
    def flops(self) -> Sequence[float]:
        """Forward operations of the first 0, 1, 2, ... stages, a sample."""
        return [0.0, *(cost for cost, _ in self._looked)]

    @cached_property
    def lengths_differ(self) -> bool:
        """Whether inputs are padded, so that operations are not by sample."""
        return _padded(self._read([0])[0])

    def size(self, boundary: int) -> int:
        """Bytes of what is kept of a sample at a boundary.

        Raises:
            UncacheableError: it cannot be kept by sample.
        """
        found = self._looked[boundary - 1][1]
        if isinstance(found, UncacheableError):
            raise found
        return found

    def open_to(self, most: int) -> int:
        """How many of the first stages can be passed: those in which all other nets of the run are like this one.

        A teacher reads the inputs too, and so does a loss's own copy of the net.

        Args:
            most: no more than these are looked at.
        """
        others = [net for net in _nets(self.module) if net is not self.backbone]
        return min([most, *(len(list(_alike(self.backbone, other, most))) for other in others)])

    def changed(self, stages: Iterable[str]) -> None:
        """These have other weights than before."""
        for stage in stages:
            self._weights.pop(stage, None)

    def key(self, boundary: int) -> str:
        """By what activations at a boundary are found: the weights before it, and all else they come from."""
        names = self.backbone.stages[:boundary]
        for name in names:
            if name not in self._weights:
                self._weights[name] = _hashed(self.backbone, name)
        said = {**self._about, "kept": self._reads(boundary), "stages": [[name, self._weights[name]] for name in names]}
        return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=12).hexdigest()

    def content(self, boundary: int, part: str) -> bytes:
        """By what a part's activations at a boundary are the same as another's."""
        return hashlib.blake2b(b"".join([self.key(boundary).encode(), *self._known(part)]), digest_size=16).digest()

    def ready(self, boundary: int, parts: Iterable[str]) -> bool:
        """Whether all activations of these parts are in the cache."""
        key = self.key(boundary)
        return all(not self._shelf(key, part).missing for part in parts if part in self.rows)

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
        if part not in self.rows:
            return None
        self._check_labels(part)
        key = self.key(boundary)
        if self._shelf(key, part).missing:
            with self.store.held(key) as held:
                self._shelves.pop((key, part))  # another may have computed them meanwhile
                if held and self._shelf(key, part).missing:
                    self._compute(key, part, boundary, below)
            if self._shelf(key, part).missing:
                return None
        stage = self.backbone.stages[boundary] if boundary < len(self.backbone.stages) else None
        return Batches(self._shelf(key, part), self.rows[part], stage, self.flops[boundary])

    def _compute(self, key: str, part: str, boundary: int, below: Collection[int]) -> None:
        missing = self._shelf(key, part).missing
        known = self._known(part)
        # numbers that were rounded on the way would depend on who computed them
        lower = [one for one in below if one < boundary and self.kind is None]
        start = max((one for one in lower if self.ready(one, [part])), default=0)
        needed = self.size(boundary) * len(missing)
        if not self.store.make_room(needed, *(self.key(one) for one in (*below, boundary))):
            raise UncacheableError(
                f"{needed / 1e9:.3g} GB are more than cache.gigabytes={self.store.most / 1e9:.3g} leaves"
            )
        about = {"backbone": self.backbone.name, "before": self.name(boundary), "bytes": self.size(boundary)}
        rows = self._made(part, missing, boundary, start)
        self.store.add(key, [known[position] for position in missing], rows, self.kind, about)
        self._shelves.pop((key, part))

    def _made(self, part: str, positions: Sequence[int], boundary: int, start: int) -> Iterator[tuple[Any, int]]:
        if start:
            shelf = self._shelf(self.key(start), part)
            for first in range(0, len(positions), _BATCH):
                batch = positions[first : first + _BATCH]
                entered = Entered(*_valued(shelf.fetch(batch)), self.backbone.stages[start], 0.0)
                entered = move_data_to_device(entered, self.module.device)
                yield self._passed(entered, boundary), len(batch)
            return
        for read in self.rows[part].read(positions, _BATCH):
            x, y = self._normalised(part, read)
            yield self._passed(x, boundary), len(y)

    @torch.no_grad()
    def _passed(self, x: Value | Entered, boundary: int) -> dict[str, Any]:
        """A batch's value at a boundary under the name '', and beside it what is kept of stages before."""
        stages = self.backbone.stages
        stop = stages[boundary] if boundary < len(stages) else None
        with self.trainer.precision_plugin.forward_context():
            value, kept = self.backbone.observe(x, self._reads(boundary), stop=stop)
        return {"": value, **kept}

    def _normalised(self, part: str, read: Any) -> tuple[Value, Tensor]:
        """A batch as the net takes it, on its device, in the run's precision."""
        # one that changes comes with seeds, as in training
        batch = self.trainer.precision_plugin.convert_input({part: read} if len(read) == 3 else read)
        moved = self.trainer.strategy.batch_to_device(batch)
        found: tuple[Value, Tensor] = moved[part] if isinstance(moved, Mapping) else moved
        return found

    def _read(self, rows: Sequence[int]) -> tuple[Value, Tensor]:
        return self._normalised("target", next(self.rows["target"].read(rows, len(rows))))

    @cached_property
    def _looked(self) -> list[tuple[float, int | UncacheableError]]:
        """Of each boundary, from the first stage on: operations before it and bytes there, a sample."""
        self.backbone.requires_grad_(False)  # until the epoch's schedule says it again; torch's counter trips over it
        both = range(min(2, len(self.rows["target"])))
        (x, y), alone = self._read(both), None
        padded = None
        if self.lengths_differ:
            alone, padded = _shortened(self._read(both[:1])[0])
        kept: dict[str, Any] = {}
        total = 0.0
        found: list[tuple[float, int | UncacheableError]] = []
        for number, name in enumerate(self.backbone.stages, 1):
            (x, one), cost = operations(partial(self._through, x, name))
            kept |= one
            total += cost / len(y)
            reads = {each: kept[each] for each in self._reads(number)}
            weight = self._weighed({"": x, **reads}, len(y))
            if alone is not None:
                alone, padded = (self._through(one, name)[0] for one in (alone, padded))
                if not isinstance(weight, UncacheableError) and not _same_row(padded, alone):
                    weight = UncacheableError(f"what {name} makes of a sample depends on how far it is padded")
            found.append((total, weight))
        return found

    @torch.no_grad()
    def _through(self, x: Any, stage: str) -> tuple[Any, dict[str, Any]]:
        """One stage's value, and its output as others see it."""
        stages = self.backbone.stages
        following = stages[place] if (place := stages.index(stage) + 1) < len(stages) else None
        with self.trainer.precision_plugin.forward_context():
            return self.backbone.observe(x, [stage], start=stage, stop=following)

    def _weighed(self, value: Any, count: int) -> int | UncacheableError:
        try:
            _, leaves = taken_apart(value, count)
        except UncacheableError as error:
            return error
        return sum(nbytes(leaf, self.kind) for leaf in leaves) // count + DIGEST

    @property
    def _reads_all(self) -> list[str]:
        return self._reads(len(self.backbone.stages))

    def _reads(self, boundary: int) -> list[str]:
        """Stages before a boundary whose outputs somebody reads."""
        strategy, head = self.module.strategy, self.module.head
        wanted = {*strategy.activations, *getattr(head, "reads", ())}
        wanted |= {stage for teacher in self.module.teachers for stage in strategy.taught(teacher)}
        return [name for name in self.backbone.stages[:boundary] if name in wanted]

    def _shelf(self, key: str, part: str) -> Shelf:
        if (key, part) not in self._shelves:
            self._shelves[key, part] = self.store.shelf(key, self._known(part))
        return self._shelves[key, part]

    def _known(self, part: str) -> list[bytes]:
        if part not in self._digests:
            self._digests[part] = self.rows[part].known()
        return self._digests[part]

    def _check_labels(self, part: str) -> None:
        """See that the labels are there without the inputs."""
        if part in self._labelled:
            return
        first = range(min(2, len(self.rows[part])))
        _, y = self._normalised(part, next(self.rows[part].read(first, 2)))
        if not _equal(self.rows[part].labels(first).to(y), y):
            raise UncacheableError("the labels are read along with the inputs, whose reading is to be saved")
        self._labelled.add(part)

    def name(self, boundary: int) -> str:
        """Of what follows on a boundary."""
        return self.backbone.stages[boundary] if boundary < len(self.backbone.stages) else "head"


class Batches:
    """Batches of one part that enter the net at a boundary.

    Args:
        shelf: that holds them.
        rows: of the part.
        stage: the next; None: there is none.
        flops: of the stages passed, a sample.
    """

    def __init__(self, shelf: Shelf, rows: Rows, stage: str | None, flops: float) -> None:
        self._shelf, self._rows, self._stage, self._flops = shelf, rows, stage, flops
        self.served = 0
        self.first_read = False

    def __call__(self, positions: Tensor, turns: Sequence[int] | None = None) -> Entered:
        """The batch of the samples at these positions (B,)."""
        self.served += len(positions)
        fetched = self._shelf.fetch(self._rows.numbers(positions, turns))
        return Entered(*_valued(fetched), self._stage, self._flops)


def _valued(fetched: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    return fetched[""], {name: value for name, value in fetched.items() if name}


def _padded(x: Value) -> bool:
    return isinstance(x, Seq) or (isinstance(x, Pair) and any(map(_padded, x)))


def _shortened(x: Value) -> tuple[Value, Value]:
    """The first three quarters of sequences by themselves, and as long as they were, the rest padding."""
    if isinstance(x, Seq):
        steps = -(-x.h.shape[1] * 3 // 4)
        mask = x.mask & (torch.arange(x.mask.shape[1], device=x.mask.device) < steps)
        h = torch.where(mask.reshape(*mask.shape, *[1] * (x.h.ndim - 2)).bool(), x.h, torch.zeros_like(x.h))
        return Seq(x.h[:, :steps], x.mask[:, :steps]), Seq(h, mask)
    if isinstance(x, Pair):
        (first, longer), (second, other) = map(_shortened, x)
        return Pair(first, second), Pair(longer, other)
    return x, x


def _nets(module: nn.Module) -> Iterator[Backbone]:
    """Every backbone, but those inside others."""
    for part in module.children():
        if isinstance(part, Backbone):
            yield part
        else:
            yield from _nets(part)


def _same_row(batch: Any, alone: Any) -> bool:
    """Whether a padded sample is the same as by itself, to round-off."""
    for one, other in zip(taken_apart(batch, 1)[1], taken_apart(alone, 1)[1], strict=True):
        if isinstance(one, Seq) and isinstance(other, Seq):
            steps = int(other.mask.sum())
            one, other = one.h[:, :steps], other.h[:, :steps]
        assert isinstance(one, Tensor) and isinstance(other, Tensor)
        if one.shape != other.shape or not torch.allclose(one.float(), other.float(), rtol=1e-3, atol=1e-5):
            return False
    return True


def _alike(one: Backbone, other: Backbone, most: int) -> Iterator[str]:
    """The first stages that two nets have in common, weights included."""
    for mine, its in zip(one.stages[:most], other.stages[:most], strict=False):
        if mine != its or _hashed(one, mine) != _hashed(other, its):
            return
        yield mine


def _hashed(backbone: Backbone, stage: str) -> str:
    """Of everything in a stage that has a value."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in backbone.stage_tensors(stage):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return torch.allclose(one, other, equal_nan=True) if one.is_floating_point() else torch.equal(one, other)
