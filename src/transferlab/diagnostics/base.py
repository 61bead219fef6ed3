"""What a diagnostic sees, and what it says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from transferlab.data.module import Domain
from transferlab.diagnostics.probe import Probe
from transferlab.module import TransferModule
from transferlab.values import flat

_MINIBATCH = 64  # samples of the probe in one pass


@dataclass(frozen=True)
class Seen:
    """What the backbone makes of the probe.

    Attributes:
        features: (n, F).
        grams: of each stage, the linear Gram matrix of each minibatch of the probe.
    """

    features: Tensor
    grams: Mapping[str, Sequence[Tensor]]


@dataclass(frozen=True)
class Look:
    """A look at a net, which is in evaluation mode; never at a test label.

    Attributes:
        module: the net and its losses.
        probes: samples by domain that the strategy reads; without any only weights can be looked at.
        batch_size: of training.
        validation: probabilities (B, C) and labels (B,) of each held-out batch, as this epoch's validation saw them;
            none where a sample has not one class out of several.
        progress: share of training done, in [0, 1), as the last step saw it.
    """

    module: TransferModule
    probes: Mapping[str, Probe]
    batch_size: int
    validation: Sequence[tuple[Tensor, Tensor]]
    progress: float

    @cached_property
    def seen(self) -> Seen:
        """One pass of the probe through the backbone, made when the first diagnostic asks, for all of them."""
        backbone = self.module.backbone
        features: list[Tensor] = []
        grams: dict[str, list[Tensor]] = {stage: [] for stage in backbone.stages}
        with torch.no_grad():
            for x, _ in next(iter(self.probes.values())).batches(_MINIBATCH, backbone):
                last, activations = backbone.observe(x, backbone.stages)
                features.append(flat(last))
                for stage, activation in activations.items():
                    grams[stage].append(linear_gram(flat(activation)))
        return Seen(torch.cat(features), grams)

    @property
    def batches(self) -> Iterator[Mapping[str, Domain]]:
        """The probe as batches of training's size, by domain."""
        streams = [probe.batches(self.batch_size, self.module) for probe in self.probes.values()]
        for pairs in zip(*streams, strict=False):
            yield dict(zip(self.probes, pairs, strict=True))


def linear_gram(activations: Tensor) -> Tensor:
    """`X X'` of centred activations (n, ...), as float64 (n, n) on the CPU.

    Subtracting a constant from all samples changes no HSIC_1, and keeps float32's digits for what differs.
    """
    flat = activations.flatten(1).float()
    flat = flat - flat.mean(0)
    return (flat @ flat.T).double().cpu()


class Diagnostic(Protocol):
    """One measurement of a run; it changes nothing."""

    reads: frozenset[str]
    """`probe`: the pass that all share, `batches`: passes of its own, `validation`; empty: weights alone."""

    def passes(self, module: TransferModule) -> int:
        """Passes of its own that a probe sample costs, a backward one counted as two."""
        ...

    def begin(self, look: Look) -> None:
        """Keep what is needed of the starting weights."""
        ...

    def measure(self, look: Look) -> Mapping[str, float]:
        """Numbers by name, as they are logged; what is no finite number is left out."""
        ...
