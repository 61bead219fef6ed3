"""How samples spread around their mean: the principal directions that several scores read, found once for all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Spread:
    """Samples seen along their principal directions, the widest first.

    Attributes:
        variances: along each direction, by N, above 0 (K,).
        places: of the samples, with mean 0 (N, K).
    """

    variances: NDArray[np.float64]
    places: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[np.float64]) -> "Spread":
        """That of features (N, F), by the smaller of their products.

        Directions that round-off cannot tell from nothing are left out; of samples that are all alike there is none.
        """
        # the mean of equal numbers may miss them by round-off
        aside = np.where(np.ptp(features, axis=0) > 0, features - features.mean(0), 0.0)
        samples, size = aside.shape
        wide = size > samples
        scales, vectors = np.linalg.eigh(aside @ aside.T if wide else aside.T @ aside)
        scales, vectors = scales[::-1], vectors[:, ::-1]
        kept = scales > max(scales[0], 0) * max(samples, size) * np.finfo(float).eps
        scales, vectors = scales[kept], vectors[:, kept]
        return cls(scales / samples, vectors * np.sqrt(scales) if wide else aside @ vectors)
