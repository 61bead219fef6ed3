"""How much diagnostics may look, and when: pure functions of sizes and settings, so that a resumed run looks alike."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What the share of a run allows.

    Attributes:
        probe: training samples that are looked at.
        epochs: after which they are; the first and the last are among them. Empty if the probe is.
        exam: test samples of the source that forgetting is measured on.
    """

    probe: int
    epochs: frozenset[int]
    exam: int


def plan(budget: float, epochs: int, once: int, each: int, probe: int, exam: int, least: int) -> Plan:
    """Spend a budget of passes: at most half on the exam, the rest on as many epochs as it pays, evenly spaced.

    Args:
        budget: passes of one sample through the net; a backward pass counts as two forward ones.
        epochs: of the run.
        once: passes a probe sample costs before training.
        each: passes it costs after each of the chosen epochs.
        probe: the most samples to look at.
        exam: the most samples of the source to look at, once.
        least: a probe that falls below is not worth it: none is taken.
    """
    examined = min(exam, int(budget / 2))
    rest = budget - examined
    samples = min(probe, int(rest / (once + each * min(2, epochs)))) if each else 0
    if samples < least:
        return Plan(0, frozenset(), examined)
    affordable = int((rest - once * samples) / (each * samples))
    return Plan(samples, spread(min(epochs, affordable), epochs), examined)


def spread(count: int, epochs: int) -> frozenset[int]:
    """`count` epochs at even distances, the first and the last among them; both of them at least."""
    steps = max(count - 1, 1)
    return frozenset(round(number * (epochs - 1) / steps) for number in range(steps + 1))


def work(stages: Sequence[str], trainable: Sequence[Collection[str]], samples: int) -> float:
    """The passes of one sample through the net that training makes.

    A step costs a forward pass, and a backward pass of twice that down to the first stage that trains.

    Args:
        stages: of the backbone, from input to features.
        trainable: the stages that train, for each epoch.
        samples: trained on in an epoch, of all domains.
    """

    def backward(chosen: Collection[str]) -> float:
        first = next((place for place, stage in enumerate(stages) if stage in chosen), len(stages))
        return 2 * (len(stages) - first) / max(len(stages), 1)

    return samples * sum(1 + backward(chosen) for chosen in trainable)
