"""A classifier on features that are adapted to the target, in place of training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from transferlab.data.labels import seen
from transferlab.errors import InputError
from transferlab.partials import settled
from transferlab.seeding import derive
from transferlab.shallow.adapting import Adapted, Array

Labels = NDArray[np.int64]
_NORMALISE = ("none", "zscore_per_domain", "rows_sum_then_zscore")
_CLASSIFIERS = ("nearest", "logistic", "svm")


@dataclass(frozen=True)
class Fitted:
    """A classifier that is ready.

    Attributes:
        source: what it makes of the source's samples that it was fitted on, logits (n, C).
        y: their labels, (n,).
        target: makes features of the target (k, F) logits (k, C).
        C: that it was fitted with; None: it has none.
    """

    source: Array
    y: Labels
    target: Callable[[Array], Array]
    C: float | None


@dataclass(frozen=True)
class Shallow:
    """The settings of `conf/strategy/solver/shallow.yaml`, which says what each means.

    Raises:
        InputError: a word that is none of those known, or a number out of its range.
    """

    adapt: Callable[..., Adapted]
    normalise: Literal["none", "zscore_per_domain", "rows_sum_then_zscore"]
    classifier: Literal["nearest", "logistic", "svm"]
    neighbours: int
    C: Sequence[float]
    folds: int
    source_labels: int | None
    rounds: int

    reads: ClassVar[frozenset[str]] = frozenset({"source", "unlabeled"})
    shares_classes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "adapt", settled(self.adapt))
        for key, words in (("normalise", _NORMALISE), ("classifier", _CLASSIFIERS)):
            if getattr(self, key) not in words:
                raise InputError(f"strategy.solver.{key}={getattr(self, key)}: {', '.join(words[:-1])} or {words[-1]}")
        if self.neighbours < 1 or not self.C or min(self.C) <= 0 or self.folds < 2 or self.rounds < 1:
            raise InputError("strategy.solver: neighbours and rounds are at least 1, each C above 0, folds at least 2")
        if self.rounds > 1 and "classes" not in signature(self.adapt).parameters:
            raise InputError(f"strategy.solver.rounds={self.rounds}: this adapt does not look at classes: set 1")

    def fit(self, source: Array, y: Labels, target: Array, classes: tuple[str, ...], seed: int) -> Fitted:
        """Adapt the source to the target, and fit the classifier on it.

        Args:
            source: features (n, F).
            y: of the source, (n,).
            target: features (m, F), without labels.
            classes: names, C of them, each with a sample of the source.
            seed: of the run, by which labels of the source are drawn.

        Raises:
            InputError: the settings do not fit the data, or each other.
        """
        scaled, scale = (normalised(x, self.normalise) for x in (source, target))
        source = scaled(source)
        if self.source_labels is not None:
            chosen = seen(y, self.source_labels, np.random.default_rng(derive(seed, "source labels")), classes)
            source, y = source[chosen], y[chosen]
        inputs = scale(target)
        adapted = self.adapt(source, inputs)
        classifier, C = self._classifier(adapted, y)
        for _ in range(self.rounds - 1):
            predicted = logits(classifier, adapted.target(inputs)).argmax(1)
            adapted = self.adapt(source, inputs, classes=(y, predicted))
            classifier, C = self._classifier(adapted, y)
        return Fitted(logits(classifier, adapted.source), y, lambda x: logits(classifier, adapted.target(scale(x))), C)

    def _classifier(self, adapted: Adapted, y: Labels) -> tuple[Any, float | None]:
        """One that is fitted, and its C, chosen on the source's labels where there are several."""
        if self.classifier == "nearest":
            if adapted.weights is not None:
                raise InputError("strategy.solver.classifier=nearest has no use for weights: choose logistic or svm")
            return _nearest(self.neighbours, len(y)).fit(adapted.source, y), None
        weights = {} if adapted.weights is None else {"sample_weight": adapted.weights}
        classifier, C = _linear(self.classifier, float(self.C[0])), float(self.C[0])
        if len(self.C) > 1:
            if np.bincount(y).min() < self.folds:
                raise InputError(f"strategy.solver.folds={self.folds}: a class of the source has fewer samples")
            from sklearn.model_selection import GridSearchCV

            search = GridSearchCV(classifier, {"C": list(map(float, self.C))}, cv=self.folds)
            classifier = search.fit(adapted.source, y, **weights).best_estimator_
            return classifier, float(search.best_params_["C"])
        return classifier.fit(adapted.source, y, **weights), C


def normalised(x: Array, how: str) -> Callable[[Array], Array]:
    """What brings features of a domain to its scale: mean 0 and deviation 1, of each one that is not constant.

    Args:
        x: of the domain, (n, F).
        how: `none`; `zscore_per_domain`; `rows_sum_then_zscore`, which has each row sum to 1 before.

    Raises:
        InputError: a row to be divided by its sum has a value below 0, or no value above it.
    """
    if how == "none":
        return np.asarray
    rows = _summed if how == "rows_sum_then_zscore" else np.asarray
    mean, deviation = rows(x).mean(0), rows(x).std(0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    return lambda other: np.asarray((rows(other) - mean) / deviation)


def _summed(x: Array) -> Array:
    sums = x.sum(1, keepdims=True)
    if (x < 0).any() or not (sums > 0).all():
        raise InputError(
            "strategy.solver.normalise=rows_sum_then_zscore is for histograms, and a row has a value below 0 or sums "
            "to 0: choose zscore_per_domain"
        )
    return np.asarray(x / sums)


def logits(classifier: Any, x: Array) -> Array:
    """What a classifier of scikit-learn makes of samples, of which the largest is its prediction.

    Args:
        classifier: fitted on classes 0 to C - 1.
        x: (k, D).

    Returns:
        (k, C): logarithms of its probabilities, which are held above float32's precision as scikit-learn's `log_loss`
        does; of an SVM, distances.
    """
    if hasattr(classifier, "predict_proba"):
        found = np.log(classifier.predict_proba(x).clip(float(np.finfo(np.float32).eps)))
    else:
        found = classifier.decision_function(x)
    return np.stack([-found, found], 1) if found.ndim == 1 else np.asarray(found)


def _nearest(neighbours: int, samples: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    if neighbours > samples:
        raise InputError(f"strategy.solver.neighbours={neighbours}: the source has {samples} samples")
    return KNeighborsClassifier(neighbours)


def _linear(name: str, C: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    return SVC(kernel="linear", C=C) if name == "svm" else LogisticRegression(C=C, max_iter=1000)
