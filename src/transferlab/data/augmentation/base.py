"""What changes training samples, and the seeds by which it is the same again when a run is resumed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from transferlab.inputs.base import Input
from transferlab.seeding import derive
from transferlab.values import Value


class Each(Protocol):
    """Changes every sample for itself: what it becomes depends on the sample and its seed alone."""

    normalised: ClassVar[bool]
    """Whether it takes batches as the net does; otherwise as they were fetched, where loader processes can help."""
    costly: ClassVar[bool]
    """Whether loader processes pay although the samples lie in memory."""

    def prepared(self, key: str, input: Input, y: Tensor) -> "Each":
        """Fit for what a net takes.

        Args:
            key: of the config, for messages.
            input: of the backbone.
            y: labels of all training samples.

        Raises:
            InputError: it changes data of another kind, or would leave the labels behind.
        """
        ...

    def __call__(self, x: Value, y: Tensor, seeds: Sequence[int]) -> tuple[Value, Tensor]:
        """A changed batch; those given stay as they are."""
        ...


class Mix(Protocol):
    """Mixes the samples of a batch, as the net takes them, and their labels."""

    def prepared(self, key: str, input: Input, y: Tensor, classes: int) -> "Mix":
        """Fit for what a net takes and for a set's classes; see `Each.prepared`."""
        ...

    def __call__(self, x: Value, y: Tensor, seed: int) -> tuple[Value, Tensor]:
        """A changed batch; those given stay as they are."""
        ...


@dataclass(frozen=True)
class Augmentation:
    """What becomes of training samples; validation, test and diagnostics see them as they are.

    Args:
        each: changes of one sample, by name, in their order.
        batch: changes of a batch, likewise, after them.
    """

    each: Mapping[str, Each]
    batch: Mapping[str, Mix]

    def __bool__(self) -> bool:
        return bool(self.each or self.batch)

    @property
    def costly(self) -> bool:
        """Whether loader processes pay although the samples lie in memory."""
        return any(change.costly for change in self.each.values())

    def prepared(self, input: Input, y: Tensor, classes: int) -> "Augmentation":
        """Fit for what a net takes and for one domain's labels.

        Raises:
            InputError: something in it does not fit them.
        """
        each = {name: one.prepared(f"augmentation.each.{name}", input, y) for name, one in self.each.items()}
        batch = {
            name: one.prepared(f"augmentation.batch.{name}", input, y, classes) for name, one in self.batch.items()
        }
        return Augmentation(each, batch)

    def fetched(self, x: Value, y: Tensor, seeds: Sequence[int]) -> tuple[Value, Tensor]:
        """A batch as it was fetched, changed; each sample by its seed."""
        return self._changed(x, y, seeds, normalised=False)

    def normalised(self, x: Value, y: Tensor, seeds: Sequence[int]) -> tuple[Value, Tensor]:
        """A batch as the net takes it, changed; what mixes it starts from its first sample's seed."""
        x, y = self._changed(x, y, seeds, normalised=True)
        for name, mix in self.batch.items():
            x, y = mix(x, y, derive(seeds[0], "batch", name))
        return x, y

    def _changed(self, x: Value, y: Tensor, seeds: Sequence[int], normalised: bool) -> tuple[Value, Tensor]:
        for name, change in self.each.items():
            if change.normalised == normalised:
                # by name, so that what one change draws does not depend on which others there are
                x, y = change(x, y, [derive(seed, name) for seed in seeds])
        return x, y


NONE = Augmentation({}, {})


def uniform(seeds: Sequence[int], count: int) -> Tensor:
    """Numbers in [0, 1), (B, count); each row is drawn from its own seed alone."""
    generator = torch.Generator()
    rows = [torch.rand(count, generator=generator.manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)


def normal(seeds: Sequence[int], count: int) -> Tensor:
    """Standard normal numbers, (B, count); each row is drawn from its own seed alone."""
    generator = torch.Generator()
    rows = [torch.randn(count, generator=generator.manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)


@contextmanager
def borrowed() -> Iterator[torch.Generator]:
    """Torch's global generator, from which torchvision draws; afterwards it is as before."""
    # no device's generator is touched: seeding that would make the host wait
    with torch.random.fork_rng(devices=[]):
        yield torch.default_generator
