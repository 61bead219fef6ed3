"""LEEP and NCE: what the classes that the source's classifier sees say of the target's classes."""

import numpy as np

from transferlab.transferability.candidate import Array, Candidate, Labels


def leep(candidate: Candidate) -> float:
    """The mean log-likelihood of the target's labels under an expected empirical predictor.

    With theta(x)_z the source's probability of its class z, `P(y, z) = 1/N * sum of theta(x_i)_z over y_i = y` and
    `P(y | z) = P(y, z) / P(z)`, it is `1/N * sum_i log sum_z P(y_i | z) theta(x_i)_z`: Nguyen, Hassner, Seeger &
    Archambeau 2020, "LEEP: A New Measure to Evaluate Transferability of Learned Representations" (ICML).

    Args:
        candidate: its `probabilities` (N, S) and classes (N,) are read.

    Returns:
        At most 0, in nats; more is better.

    Raises:
        InputError: no probabilities, no labels, or one class alone.
    """
    return expected_prediction(candidate.said("leep"), candidate.classes("leep"))


def expected_prediction(theta: Array, y: Labels) -> float:
    """`leep` of probabilities and classes.

    Args:
        theta: rows that sum to 1, (N, S).
        y: 0 to C - 1, (N,).
    """
    theta = theta[:, theta.any(0)]
    joint = np.zeros((y.max() + 1, theta.shape[1]))
    np.add.at(joint, y, theta)
    likelihood = (theta * (joint / joint.sum(0))[y]).sum(1) / theta.sum(1)
    return min(float(np.log(likelihood).mean()), 0.0)


def nce(candidate: Candidate) -> float:
    """Minus the entropy of the target's labels that is left once the source's predicted class is known.

    `sum_{y, z} P(y, z) log (P(y, z) / P(z))` with P the shares of samples of target class y and source class z: Tran,
    Nguyen & Hassner 2019, "Transferability and Hardness of Supervised Classification Tasks" (ICCV). There z are labels
    of the same samples for the source's task; here, as LEEP's authors have it, the most probable source class.

    Args:
        candidate: its `probabilities` (N, S) and classes (N,) are read.

    Returns:
        Between -ln C and 0, in nats; more is better.

    Raises:
        InputError: no probabilities, no labels, or one class alone.
    """
    z, y = candidate.said("nce").argmax(1), candidate.classes("nce")
    counts = np.zeros((y.max() + 1, z.max() + 1))
    np.add.at(counts, (y, z), 1)
    share = (counts / np.maximum(counts.sum(0), 1))[y, z]
    return min(float(np.log(share).mean()), 0.0)
