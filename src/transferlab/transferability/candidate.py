"""What is known of a source on a target before anything is trained, and how the scores read it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferlab.errors import InputError
from transferlab.transferability.spread import Spread

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
_OFF = 1e-3  # by which the probabilities of one sample may miss a sum of 1, as those of half precision do


@dataclass(frozen=True, eq=False)
class Candidate:
    """A source on a target: N samples of the target, and of the source what a score asks for.

    Every score is a function of a candidate and of settings, and gives a number. Tensors and arrays are taken; they
    are kept in float64 on the CPU, labels that are whole numbers as int64.

    Attributes:
        features: of the target, by the source's net, (N, F).
        labels: of the target: class indices (N,), or numbers (N,) or (N, T) to be regressed on; None: not known.
        probabilities: what the source's classifier says of the target, (N, S), rows that sum to 1; None: it has none.
        source_features: of samples of the source, by the same net, (M, F); None: no data.
        source_labels: their classes (M,).
        reference: what another net makes of the same target samples, (N, G).
        embedding: of the target's task, by `task2vec.embed`, (P,).
        source_embedding: of the source's task, by the same net, (P,).

    Raises:
        InputError: a shape that does not fit, no samples, or something that is no number.
    """

    features: Array
    labels: Array | Labels | None = None
    probabilities: Array | None = None
    source_features: Array | None = None
    source_labels: Labels | None = None
    reference: Array | None = None
    embedding: Array | None = None
    source_embedding: Array | None = None

    def __post_init__(self) -> None:
        """Bring all to float64, and see that it fits together."""
        for name, value in vars(self).items():
            if value is not None:
                object.__setattr__(self, name, _exact(name, value))
        for name in ("features", "probabilities", "source_features", "reference"):
            _check_shape(name, getattr(self, name), 2)
        for name in ("source_labels", "embedding", "source_embedding"):
            _check_shape(name, getattr(self, name), 1)
        for name in ("labels", "probabilities", "reference"):
            _check_equal(name, getattr(self, name), "samples", len(self.features))
        if self.source_features is not None:
            _check_equal("source_labels", self.source_labels, "samples", len(self.source_features))
            _check_equal("source_features", self.source_features.T, "features", self.features.shape[1])
        if self.embedding is not None:
            _check_equal("source_embedding", self.source_embedding, "numbers", len(self.embedding))
        if self.probabilities is not None:
            _check_probabilities(self.probabilities)

    @cached_property
    def spread(self) -> Spread:
        """That of the target's features, found when a score first asks."""
        return Spread.of(self.features)

    def classes(self, score: str) -> Labels:
        """The target's classes, numbered 0 to C - 1 without gaps, (N,).

        Args:
            score: who asks, for messages.

        Raises:
            InputError: no labels, labels that are no classes, or one class alone.
        """
        found = numbered(score, "the target", self.labels)
        if found.max() == 0:
            raise InputError(f"score {score} tells classes apart, and the target has one alone: take samples of others")
        return found

    def said(self, score: str) -> Array:
        """What the source's classifier says of the target, (N, S)."""
        return _there(
            score, self.probabilities, "what the source's classifier says of the target", "a score of features"
        )

    def sides(self, score: str, least: int = 1) -> tuple[Array, Array]:
        """Features of the source (M, F) and of the target (N, F).

        Args:
            score: who asks, for messages.
            least: samples that each side must have.

        Raises:
            InputError: no samples of the source, or too few of a side.
        """
        source = _there(score, self.source_features, "samples of the source", "a source with data")
        if min(len(source), len(self.features)) < least:
            raise InputError(
                f"score {score} takes {least} samples of each side, and there are {len(source)} of the source and "
                f"{len(self.features)} of the target: take more"
            )
        return source, self.features

    def seen_by(self, score: str) -> Array:
        """What another net makes of the target, (N, G)."""
        return _there(score, self.reference, "what another net makes of the target's samples", "a reference")

    def embeddings(self, score: str) -> tuple[Array, Array]:
        """Embeddings of the source's task and of the target's, (P,) each."""
        source = _there(score, self.source_embedding, "an embedding of the source's task", "task2vec.embed")
        return source, _there(score, self.embedding, "an embedding of the target's task", "task2vec.embed")


def numbered(score: str, side: str, labels: Array | Labels | None) -> Labels:
    """Class labels as 0 to C - 1, in their order and without gaps.

    Args:
        score: who asks, for messages.
        side: whose they are, for messages.
        labels: (N,), whole numbers.

    Raises:
        InputError: there are none, or they are no classes.
    """
    if labels is None:
        raise InputError(
            f"score {score} reads labels of {side}, and there are none: provide them, or choose a distance"
        )
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise InputError(
            f"score {score} reads one class a sample, and the labels of {side} are {labels.dtype} of shape "
            f"{labels.shape}: choose score logme, which takes numbers too"
        )
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _exact(name: str, value: Any) -> Array | Labels:
    if isinstance(value, Tensor):
        value = value.detach().cpu().to(torch.float64 if value.is_floating_point() else torch.int64)
    array = np.asarray(value)
    whole = name in ("labels", "source_labels") and array.dtype.kind in "iub"
    array = array.astype(np.int64 if whole else np.float64, copy=False)
    if array.size == 0:
        raise InputError(f"a candidate's {name} have the shape {array.shape}, which holds nothing: take some samples")
    if not (finite := np.isfinite(array)).all():
        first = np.argwhere(~finite)[0]
        raise InputError(
            f"a candidate's {name} are no number at {tuple(map(int, first))}: see whether the net diverged, or leave "
            "that sample out"
        )
    return array


def _check_shape(name: str, value: Any, dimensions: int) -> None:
    if value is not None and value.ndim != dimensions:
        wanted = "(samples, numbers)" if dimensions == 2 else "(numbers,)"
        raise InputError(f"a candidate's {name} are of shape {wanted}, and these have {value.shape}: reshape them")


def _check_equal(name: str, value: Any, what: str, wanted: int) -> None:
    if value is not None and (found := value.shape[0] if value.ndim else 0) != wanted:
        raise InputError(f"a candidate's {name} have {found} {what} where {wanted} are: take them from one pass")


def _check_probabilities(probabilities: Array) -> None:
    if probabilities.min() < 0 or np.abs(probabilities.sum(1) - 1).max() > _OFF:
        raise InputError("a candidate's probabilities are 0 or more and sum to 1 a sample: apply softmax to logits")


def _there(score: str, value: Array | None, what: str, remedy: str) -> Array:
    if value is None:
        raise InputError(f"score {score} reads {what}, and this candidate has none: choose {remedy}")
    return value
