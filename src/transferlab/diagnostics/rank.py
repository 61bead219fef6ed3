"""Feature rank: over how many directions the features spread."""

from collections.abc import Mapping
from math import nan

import torch
from torch import Tensor

from transferlab.diagnostics.base import Look
from transferlab.module import TransferModule


def effective_rank(features: Tensor) -> float:
    """The exponential of the entropy of the singular values, normalised to sum 1.

    Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality" (EUSIPCO), definition 1, with the
    natural logarithm. Taken of centred features: else their common mean, large behind a ReLU, would be one direction
    that hides the others.

    Args:
        features: (n, F), n samples.

    Returns:
        Between 1 and min(n - 1, F); NaN where all samples have the same features, or some are no numbers.
    """
    features = features.double().cpu()
    if not features.isfinite().all():
        return nan
    values = torch.linalg.svdvals(features - features.mean(0))
    # what is left of zero after float64's round-off counts as zero
    values = values[values > values.sum() * 1e-12]
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp()) if len(values) else nan


class FeatureRank:
    """`effective_rank` of the backbone's features of the probe: `feature_rank`."""

    reads = frozenset({"probe"})

    def passes(self, module: TransferModule) -> int:
        """None beside the pass that all share."""
        return 0

    def begin(self, look: Look) -> None:
        """It needs nothing of the start."""

    def measure(self, look: Look) -> Mapping[str, float]:
        """The rank now."""
        return {"feature_rank": effective_rank(look.seen.features)}
