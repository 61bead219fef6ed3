"""Task2Vec: a task as the Fisher information of a probe network's filters, and how far apart two tasks are."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.losses.weights.ewc import empirical_fisher
from transferlab.seeding import derive
from transferlab.transferability.candidate import Array, Candidate


def embed(logits: Iterable[Tensor], filters: Sequence[Tensor]) -> Tensor:
    """The diagonal of a net's Fisher information, averaged over the weights of each filter.

    `F = E_{x, y ~ p(y|x)} (d log p(y|x) / d w)^2` with labels drawn from the net itself, one a sample: Achille et al.
    2019, "Task2Vec: Task Embedding for Meta-Learning" (ICCV). The net is the probe network with a head that was trained
    on the task. The paper's robust estimate, by a variational bound, is not made.

    Args:
        logits: of single samples, (S,) or (1, S) each, with a gradient to the filters.
        filters: weights whose first axis counts filters (K, ...).

    Returns:
        (P,), as many as there are filters in all, 0 or more.

    Raises:
        InputError: no sample.
    """
    with torch.enable_grad():
        fisher = empirical_fisher(_surprises(logits), filters)
    return torch.cat([one.flatten(1).mean(1) if one.ndim > 1 else one for one in fisher])


def task2vec_distance(candidate: Candidate) -> float:
    """The cosine distance of two tasks' embeddings, each number divided by the sum of both.

    `d(F_a / (F_a + F_b), F_b / (F_a + F_b))` by division of each number: Achille et al. 2019, the symmetric distance.
    Filters that matter to neither task are left out.

    Args:
        candidate: its `embedding` and `source_embedding`, (P,) each, are read.

    Returns:
        Between 0 and 1; less is nearer. 1 where no filter matters to both.

    Raises:
        InputError: an embedding is missing, has a number below 0, or is 0 throughout.
    """
    source, target = candidate.embeddings("task2vec_distance")
    if min(source.min(), target.min()) < 0 or not source.any() or not target.any():
        raise InputError(
            "score task2vec_distance reads Fisher information, 0 or more and somewhere above: use task2vec.embed"
        )
    return _cosine(*((source, target) / np.where(source + target > 0, source + target, 1.0)))


def _cosine(one: Array, other: Array) -> float:
    return max(1 - float(one @ other) / float(np.linalg.norm(one) * np.linalg.norm(other)), 0.0)


def _surprises(logits: Iterable[Tensor]) -> Iterator[Tensor]:
    """Of each sample, minus the log-likelihood of a label drawn from the net."""
    generator, one = torch.Generator().manual_seed(derive(0, "task2vec")), None
    for one in logits:
        log = one.flatten().log_softmax(0)
        yield -log[int(torch.multinomial(log.detach().exp().cpu().double(), 1, generator=generator))]
    if one is None:
        raise InputError("task2vec.embed reads samples of the task, and there are none: take some")
