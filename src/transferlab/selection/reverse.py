"""Reverse validation: whether what the net says of the target leads back to the source's labels."""

from math import nan

import numpy as np

from transferlab.selection.logistic import logistic
from transferlab.selection.seen import Seen, check, exact, finite


def reverse(seen: Seen, *, penalty: float) -> float:
    """The accuracy on held-out source labels of a classifier that learned the target's pseudo-labels.

    Zhong et al. 2010, "Cross Validation Framework to Choose amongst Models and Datasets for Transfer Learning" (ECML
    PKDD); Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks" (JMLR 17). Published, the whole net is
    trained again the other way, from the pseudo-labelled target to the source without labels. Here the reverse
    classifier is a logistic regression on the net's features: one fit an epoch in place of a training, and the features
    stay those that the source's labels have shaped.

    Args:
        seen: its `target` and its `source_val` are read.
        penalty: as `logistic`'s.

    Returns:
        A share in [0, 1], 0 where one class alone is predicted; NaN if a logit or a feature is no number.

    Raises:
        InputError: no target inputs, no held-out source labels, or a penalty of 0 or less.
    """
    check("selection=reverse", "target inputs", seen.target)
    check("selection=reverse", "held-out source samples", seen.source_val)
    target, source, logits = (exact(x) for x in (seen.target.features, seen.source_val.features, seen.target.logits))
    if not finite(target, source, logits):
        return nan
    predicted = logits.argmax(1).numpy()
    if len(np.unique(predicted)) == 1:
        return 0.0
    y = seen.source_val.y.cpu().numpy()
    return float(logistic(target.numpy(), predicted, penalty).score(source.numpy(), y))
