import pytest
import torch

from transferlab.data.ragged import Ragged
from transferlab.inputs.arrays import ArrayInput

KINDS = {"ids": (torch.int64, ()), "wave": (torch.float32, ()), "frames": (torch.float32, (3,))}
every_kind = pytest.mark.parametrize("kind", list(KINDS))


def sequences(kind="ids", lengths=(4, 1, 6, 2, 6, 3)):
    """Sequences that share no number, so that each step tells where it comes from."""
    dtype, features = KINDS[kind]
    size = torch.Size(features).numel()
    numbers = torch.arange(1, 1 + sum(lengths) * size).to(dtype).reshape(-1, *features)
    return list(numbers.split(list(lengths)))


def labelled(n=6):
    return torch.arange(10, 10 + n)


def naive(chosen, padding):
    """A batch written step by step."""
    longest = max(len(one) for one in chosen)
    h = torch.empty(len(chosen), longest, *chosen[0].shape[1:], dtype=chosen[0].dtype)
    mask = torch.empty(len(chosen), longest, dtype=torch.bool)
    for row, one in enumerate(chosen):
        for step in range(longest):
            mask[row, step] = step < len(one)
            h[row, step] = one[step] if step < len(one) else padding
    return h, mask


@every_kind
@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("indices", [[0], [1, 3], [4, 1, 1, 2], range(6), torch.tensor([5, 0])], ids=str)
def test_a_batch_is_padded_to_its_own_longest(kind, padding, indices):
    given = sequences(kind)
    x, y = Ragged.of(given, labelled(), padding)[indices]
    h, mask = naive([given[int(i)] for i in indices], padding)
    assert x.h.dtype == h.dtype
    assert torch.equal(x.h, h)
    assert torch.equal(x.mask, mask)
    assert y.tolist() == [10 + int(i) for i in indices]


@pytest.mark.parametrize("seed", range(5))
def test_any_lengths_come_back_as_they_were_given(seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (20,), generator=generator).tolist()
    given = sequences("frames", lengths)
    order = torch.randperm(20, generator=generator)
    x, _ = Ragged.of(given, labelled(20)).take(order)[range(20)]
    for row, index in enumerate(order.tolist()):
        assert torch.equal(x.h[row][x.mask[row]], given[index])


@every_kind
def test_what_is_taken_keeps_order_labels_and_padding(kind):
    given = sequences(kind)
    whole = Ragged.of(given, labelled(), padding=5)
    taken = whole.take(torch.tensor([4, 0, 3]))
    assert len(taken) == 3
    assert len(taken.steps) == 6 + 4 + 2  # nothing of the others is carried along
    for one, other in zip(taken[[0, 2, 1]], whole[[4, 3, 0]], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    # and what is taken can be taken from
    again = taken.take(torch.tensor([1, 1]))
    assert torch.equal(again[[1]][0].h[0], given[0])
    assert again.y.tolist() == [10, 10]


def test_none_can_be_taken():
    nothing = Ragged.of(sequences(), labelled()).take(torch.zeros(0).long())
    assert len(nothing) == len(nothing.steps) == len(nothing.y) == 0


def test_a_sequence_without_steps_is_padding_alone():
    given = [torch.tensor([1, 2]), torch.zeros(0).long(), torch.tensor([3])]
    x, _ = Ragged.of(given, labelled(3), padding=9)[[1, 0, 2]]
    assert x.h.tolist() == [[9, 9], [1, 2], [3, 9]]
    assert x.mask.tolist() == [[False, False], [True, True], [True, False]]


def test_a_batch_is_a_copy():
    samples = Ragged.of(sequences(), labelled())
    before = samples.steps.clone()
    samples[[0, 1]][0].h.fill_(-1)
    assert torch.equal(samples.steps, before)


def test_relabelling_changes_the_labels_and_no_step():
    samples = Ragged.of(sequences(), labelled())
    other = samples.relabelled(torch.zeros(6, 2))
    assert torch.equal(other[range(6)][0].h, samples[range(6)][0].h)
    assert other[[0, 1]][1].tolist() == [[0.0, 0.0]] * 2
    assert torch.equal(samples.y, labelled())


def test_labels_may_have_any_shape():
    y = torch.rand(6, 3)
    assert torch.equal(Ragged.of(sequences(), y)[[5, 2]][1], y[[5, 2]])


def test_they_are_ready_for_a_net_as_they_are():
    samples = Ragged.of(sequences(), labelled())
    assert samples.prepared(ArrayInput.of(3)) is samples


def test_equal_samples_have_equal_fingerprints_and_what_differs_shows():
    samples = Ragged.of(sequences(), labelled())
    assert Ragged.of(sequences(), labelled()).fingerprint() == samples.fingerprint()
    others = [
        samples.relabelled(labelled().flip(0)),
        samples.take(torch.tensor([1, 0, 2, 3, 4, 5])),
        Ragged.of(sequences(lengths=(1, 4, 6, 2, 6, 3)), labelled()),  # the same steps, cut elsewhere
        Ragged.of(sequences("wave"), labelled()),
    ]
    assert len({other.fingerprint() for other in (samples, *others)}) == 5
