"""The linear classifier that rules fit on a net's features."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferlab.errors import InputError


def logistic(x: NDArray[np.float64], y: NDArray[np.int64], penalty: float) -> Any:
    """A logistic regression on standardised features, so that their scale does not matter; the same every time.

    Args:
        x: features (N, F).
        y: class indices (N,), at least two classes among them.
        penalty: of the squared weights, halved, beside the sum of the losses in nats; above 0.

    Returns:
        scikit-learn's pipeline, fitted.

    Raises:
        InputError: the penalty is 0 or less.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if penalty <= 0:
        raise InputError(f"selection.score.penalty={penalty}: a number above 0")
    return make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, tol=1e-6, max_iter=1000)).fit(x, y)
