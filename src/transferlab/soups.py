"""Model soups: weights of several nets that were fine-tuned from one start, averaged into one net.

Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time" (ICML), section 2. A state is a state dict: tensors by name, with the same names and shapes in all nets.
Floating-point tensors are averaged, in double precision; what counts, such as a number of batches, is the first net's.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

State: TypeAlias = Mapping[str, Tensor]


@torch.no_grad()
def uniform(states: Iterable[State]) -> dict[str, Tensor]:
    """The uniform soup: the mean of all states.

    Args:
        states: at least one; they are taken one by one, so that a generator needs not hold them all.

    Returns:
        A state in the first one's kinds of numbers.
    """
    rest = iter(states)
    first = next(rest)
    mean = _doubled(first)
    for count, state in enumerate(rest, 1):
        mean = _joined(mean, count, state)
    return _like(mean, first)


@torch.no_grad()
def greedy(
    states: Iterable[State], score: Callable[[State], float], settled: Callable[[State], State]
) -> tuple[State, list[bool]]:
    """The greedy soup, Recipe 1: each state joins the mean if the score of the mean does not fall.

    Args:
        states: the best first, by their own scores; at least one, taken one by one.
        score: on held-out labels, of which more is better; a mean whose score is NaN is not kept.
        settled: what becomes of a mean of several states before it is scored, such as new statistics of normalisation;
            the next mean is one of the states as they were.

    Returns:
        The soup, whose score is not below that of the first state; and which states are in it.
    """
    rest = iter(states)
    first = next(rest)
    soup, mean, best, kept = first, _doubled(first), score(first), [True]
    for state in rest:
        joined = _joined(mean, sum(kept), state)
        tried = settled(_like(joined, first))
        found = score(tried)
        kept.append(found >= best)
        if kept[-1]:
            soup, mean, best = tried, joined, found
    return soup, kept


def _doubled(state: State) -> dict[str, Tensor]:
    return {key: value.double() for key, value in state.items() if value.is_floating_point()}


def _joined(mean: State, count: int, state: State) -> dict[str, Tensor]:
    """The mean of `count` states and one more; of equal ones exactly these."""
    return {key: value + (state[key].double() - value) / (count + 1) for key, value in mean.items()}


def _like(mean: State, first: State) -> dict[str, Tensor]:
    return {key: mean[key].to(value.dtype) if key in mean else value for key, value in first.items()}
