"""Looking at a net leaves it, and all random states, as they were."""

import random

import numpy as np
import torch
from torch import nn

from transferlab.data.module import TransferData
from transferlab.data.parts import Parts
from transferlab.data.ragged import Ragged
from transferlab.data.samples import InMemory
from transferlab.diagnostics.probe import Probe, remembered, undisturbed
from transferlab.inputs.arrays import ArrayInput
from transferlab.values import Seq


def data() -> TransferData:
    samples = InMemory(torch.arange(10, dtype=torch.uint8).repeat(4, 1).T.contiguous(), torch.arange(10))
    parts = Parts(samples, None, samples, tuple("0123456789"), 10)
    return TransferData(
        parts, None, frozenset({"target"}), ArrayInput((4,), [0.5], [0.25], "bilinear", None), False, 4, 0, 0
    )


def test_a_probe_shows_a_set_sorted_by_class_evenly_and_in_order() -> None:
    assert Probe.of(data().sets.train, 4, data()).y.tolist() == [0, 3, 6, 9]
    assert Probe.of(data().sets.train, 99, data()).y.tolist() == list(range(10))


def test_its_batches_are_normalised_and_nearly_equal() -> None:
    probe = Probe.of(data().sets.train, 10, data())
    batches = list(probe.batches(4, nn.Linear(4, 1)))
    assert [len(y) for _, y in batches] == [4, 3, 3]
    assert torch.allclose(torch.cat([x for x, _ in batches]), (probe.x.float() / 255 - 0.5) / 0.25)


class Waves:
    """An input of sequences, made twice as loud."""

    kind = "waves"

    def normalised(self, x: Seq) -> Seq:
        return Seq(x.h * 2, x.mask)

    def example(self, count: int) -> Seq:
        return Seq(torch.ones(count, 3), torch.ones(count, 3).bool())


def test_sequences_keep_their_masks_and_their_kind_of_numbers_is_the_nets() -> None:
    waves = Ragged.of([torch.full((length,), float(length)) for length in (2, 5, 1, 3)], torch.arange(4))
    parts = Parts(waves, None, waves, tuple("0123"), 4)
    held = TransferData(parts, None, frozenset(), Waves(), reconstructs=False, batch_size=4, workers=0, seed=0)
    probe = Probe.of(waves, 4, held)
    first, second = probe.batches(2, nn.Linear(1, 1).double())
    assert [list(y) for _, y in (first, second)] == [[0, 1], [2, 3]]
    for (x, _), lengths in ((first, [2, 5]), (second, [1, 3])):
        assert x.h.dtype == torch.float64
        assert x.mask.sum(1).tolist() == lengths
        assert x.h.sum(1).tolist() == [2.0 * length * length for length in lengths]
    (x, y), *none = probe.first(3).batches(9, nn.Linear(1, 1))
    assert (x.mask.sum(1).tolist(), y.tolist(), none) == ([2, 5, 1], [0, 1, 2], [])


def test_modes_and_random_states_are_put_back() -> None:
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()))
    net.train()
    net[1][0].eval()
    modes = [part.training for part in net.modules()]
    states = [torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()]
    with undisturbed(net):
        assert not any(part.training for part in net.modules())
        torch.rand(3), np.random.rand(3), random.random()
    assert [part.training for part in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


def test_buffers_are_put_back_whether_changed_or_replaced() -> None:
    net = nn.Module()
    net.register_buffer("changed", torch.ones(2))
    net.register_buffer("replaced", torch.ones(2))
    before = net.replaced
    with remembered(net):
        net.changed += 1
        net.replaced = torch.zeros(3)
    assert net.replaced is before
    assert net.changed.tolist() == net.replaced.tolist() == [1, 1]
