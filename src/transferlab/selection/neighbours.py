"""Rules that look at how the target's samples lie together: in dense neighbourhoods, in clusters that are classes."""

import warnings
from math import nan
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from transferlab.errors import InputError, unknown
from transferlab.seeding import derive
from transferlab.selection.seen import Seen, check, drawn, exact, finite

_BLOCK = 2**21  # similarities held at once: 16 MiB of them in float64


def snd(seen: Seen, *, temperature: float, samples: int) -> float:
    """Soft neighbourhood density: over how many others each target sample's neighbourhood of predictions spreads.

    Saito et al. 2021, "Tune it the Right Way: Unsupervised Validation of Domain Adaptation via Soft Neighborhood
    Density" (ICCV), with a temperature of 0.05: see `soft_neighbourhood_density`. A net that calls everything one class
    scores highest.

    Args:
        seen: its `target` is read.
        temperature: of the similarities; above 0.
        samples: at most so many are drawn; the time grows with their square.

    Returns:
        Between 0 and ln(N - 1), in nats; NaN if a logit is no number.

    Raises:
        InputError: fewer than two target inputs, a temperature of 0 or less, or fewer than two samples.
    """
    check("selection=snd", "target inputs", seen.target)
    if temperature <= 0:
        raise InputError(f"selection.score.temperature={temperature}: a number above 0")
    logits = exact(seen.target.logits)
    if len(logits) < 2:
        raise InputError("selection=snd compares target inputs with one another, and there is one alone: add some")
    if not finite(logits):
        return nan
    return soft_neighbourhood_density(logits[drawn(len(logits), samples)].softmax(1), temperature)


def soft_neighbourhood_density(p: Tensor, temperature: float) -> float:
    """The mean entropy of each row of `softmax(cos(p_i, p_j) / temperature)` over all j but i, in nats.

    Computed a block of rows at a time.

    Args:
        p: predictions (N, C), N at least 2.
        temperature: above 0.
    """
    p, total = normalize(p, dim=1), 0.0
    for rows in torch.split(torch.arange(len(p)), max(1, _BLOCK // len(p))):
        similarities = p[rows] @ p.T / temperature
        similarities[torch.arange(len(rows)), rows] = -torch.inf
        total += float(torch.special.entr(similarities.softmax(1)).sum())
    return total / len(p)


def class_cluster(seen: Seen, *, score: Literal["ami", "silhouette"], n_init: int, samples: int) -> float:
    """Whether the classes that the net predicts are clusters of the target's features.

    `ami`: the adjusted mutual information of predicted classes and clusters of k-means, as many as classes; ClassAMI
    of Musgrave, Belongie & Lim 2022, "Three New Validators and a Large-Scale Benchmark Ranking for Unsupervised Domain
    Adaptation" (arXiv:2208.07360). `silhouette`: Rousseeuw's coefficient of the predicted classes themselves; no
    clusters are looked for.

    Args:
        seen: its `target` is read.
        score: `ami` or `silhouette`.
        n_init: from how many starts k-means looks, for `ami`.
        samples: at most so many are drawn; the silhouette's time grows with their square.

    Returns:
        Between -1 and 1, -1 where one class alone is predicted; NaN if a logit or a feature is no number.

    Raises:
        InputError: no target inputs, no such score, no start, or fewer than two samples.
    """
    check("selection=class_cluster", "target inputs", seen.target)
    if score not in ("ami", "silhouette"):
        raise unknown("selection.score.score", score, ("ami", "silhouette"))
    if n_init < 1:
        raise InputError(f"selection.score.n_init={n_init}: at least 1")
    rows = drawn(len(seen.target.logits), samples)
    features, logits = exact(seen.target.features[rows]), exact(seen.target.logits[rows])
    if not finite(features, logits):
        return nan
    predicted = logits.argmax(1).numpy()
    if len(np.unique(predicted)) == 1:
        return -1.0
    if score == "silhouette":
        return _silhouette(features.numpy(), predicted)
    return _ami(features.numpy(), predicted, logits.shape[1], n_init)


def _ami(features: NDArray[np.float64], predicted: NDArray[np.int64], classes: int, n_init: int) -> float:
    """The adjusted mutual information of predicted classes and clusters."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import adjusted_mutual_info_score

    means = KMeans(min(classes, len(features)), n_init=n_init, random_state=derive(0, "class_cluster"))
    with warnings.catch_warnings():  # of fewer distinct features than clusters: their score says it
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = means.fit_predict(features)
    return float(adjusted_mutual_info_score(predicted, clusters))


def _silhouette(features: NDArray[np.float64], predicted: NDArray[np.int64]) -> float:
    """The mean silhouette coefficient of the predicted classes; 0 where each sample is a class of its own."""
    from sklearn.metrics import silhouette_score

    return 0.0 if len(np.unique(predicted)) == len(predicted) else float(silhouette_score(features, predicted))
