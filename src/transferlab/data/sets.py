"""The samples of a run, as its backbone takes them, by part: what trains, what is held out, what is tested on."""

from collections.abc import Collection
from functools import cached_property

import torch

from transferlab.data.parts import Parts
from transferlab.data.samples import Samples, Splits
from transferlab.data.vault import sealed
from transferlab.errors import InputError
from transferlab.inputs.base import Input

DOMAINS = ("target", "unlabeled", "strong", "source")
"""Of training samples: the target's with labels, its inputs without them, these once more under other changes, and the
source's; in the order of a batch."""
PARTS = (*DOMAINS, "val", "test")
"""Of a run's data: training samples, held-out labels, the test split."""
NO_SOURCE = "the strategy reads source data, but this source has none; choose e.g. source=mnist5k"


class Sets:
    """The target, cut, and of the source what is read.

    Args:
        parts: the target, cut.
        source: its data, or None; its training split is read where the strategy reads it, its test split by selection
            rules alone.
        reads: the domains that a batch holds.
        studies: the domains that the strategy goes through once, before the first step.
        input: what the backbone takes.

    Raises:
        InputError: the strategy reads a source that has no data, or the data do not fit the backbone.
    """

    def __init__(
        self, parts: Parts, source: Splits | None, reads: Collection[str], studies: Collection[str], input: Input
    ) -> None:
        reads_source = "source" in {*reads, *studies}
        if reads_source and source is None:
            raise InputError(NO_SOURCE)
        self.train = parts.train.prepared(input) if len(parts.train) else parts.train
        self.unlabeled = parts.unlabeled.prepared(input) if parts.unlabeled is not None else None
        self.val = parts.val.prepared(input) if parts.val is not None else None
        self.test = parts.test.prepared(input)
        self.source = source.train.prepared(input) if source is not None and reads_source else None
        self.classes = parts.classes
        self._held = source.test if source is not None else None
        self._reads, self._input = reads, input
        self._shown: dict[str, Samples] = {}

    @property
    def domains(self) -> dict[str, Samples]:
        """Training samples by domain, of those that a batch holds."""
        held = {
            "target": self.train if len(self.train) else None,
            "unlabeled": self.unlabeled if "unlabeled" in self._reads else None,
            "strong": self.unlabeled if "strong" in self._reads else None,
            "source": self.source if "source" in self._reads else None,
        }
        return {domain: samples for domain, samples in held.items() if samples is not None}

    @property
    def passed_over(self) -> Samples:
        """The samples of which an epoch is one pass, of the target.

        Those without labels where some are read, or where there are no others; else those with labels.
        """
        unlabeled = "unlabeled" in self._reads or not len(self.train)
        return self.unlabeled if self.unlabeled is not None and unlabeled else self.train

    @property
    def asked(self) -> str:
        """The domain whose samples teachers look at."""
        return "target" if len(self.train) else "unlabeled"

    @property
    def hidden(self) -> Samples:
        """The target's training inputs without labels."""
        return self.unlabeled if self.unlabeled is not None else sealed(self.train)

    @cached_property
    def held(self) -> Samples | None:
        """What is held out of the source, where it is read and has any."""
        return None if self._held is None or self.source is None else self._held.prepared(self._input)

    def show(self, part: str, most: int) -> Samples:
        """What selection rules look at, evenly spaced; it is the part `shown <part>` from now on.

        Args:
            part: `source`: of its training split; `held`: held out of it; `inputs`: the target's, without labels.
            most: samples, at most.
        """
        samples = {"source": self.source, "held": self.held, "inputs": self.hidden}[part]
        if samples is None:
            samples = self.test.take(torch.zeros(0, dtype=torch.long))
        elif len(samples) > most:
            samples = samples.take(torch.linspace(0, len(samples) - 1, most).round().long())
        self._shown[f"shown {part}"] = samples
        return samples

    def whole(self, part: str) -> Samples | None:
        """A part, of a domain all samples whether or not a batch holds them; None where there is no such part.

        Args:
            part: one of `PARTS`, or `shown ...`.
        """
        held = {"target": self.train, "unlabeled": self.unlabeled, "strong": self.unlabeled, "source": self.source}
        return {**held, "val": self.val, "test": self.test, **self._shown}[part]

    def read(self, part: str) -> Samples | None:
        """A part, of the target's domains only what a batch holds; None where there is no such part.

        Args:
            part: as for `whole`.
        """
        return self.domains.get(part) if part in DOMAINS[:3] else self.whole(part)
