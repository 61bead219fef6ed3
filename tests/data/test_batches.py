import pytest
import torch

from transferlab.data.batches import InOrder, Shuffled, Stream


def epoch_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def flat(batches):
    return [index for batch in batches for index in batch.indices]


@pytest.mark.parametrize(("samples", "batch_size"), [(12, 4), (14, 4), (3, 8), (1, 8), (2, 1), (100, 7)])
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_is_a_permutation(samples, batch_size, epoch):
    order = flat(epoch_of(Shuffled(samples, batch_size, seed=3), epoch))
    assert sorted(order) == list(range(samples))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [tuple(flat(epoch_of(Shuffled(50, 8, seed), epoch))) for seed in range(3) for epoch in range(5)]
    assert len(set(orders)) == 15
    assert tuple(range(50)) not in orders


def test_an_epoch_alone_is_the_epoch_after_the_others():
    passed = Shuffled(50, 8, seed=3)
    history = [epoch_of(passed, epoch) for epoch in range(6)]
    for epoch in (5, 2):
        torch.manual_seed(epoch)
        assert epoch_of(Shuffled(50, 8, seed=3), epoch) == history[epoch]


@pytest.mark.parametrize(
    ("samples", "batch_size", "sizes"),
    [
        (9, 4, [4, 4]),
        (10, 4, [4, 4, 2]),
        (8, 4, [4, 4]),
        (5, 4, [4]),
        (4, 4, [4]),
        (3, 4, [3]),
        (1, 4, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_a_last_batch_of_one_sample_is_dropped_unless_it_is_the_only_one(samples, batch_size, sizes):
    sampler = Shuffled(samples, batch_size, seed=0)
    assert [len(batch.indices) for batch in sampler] == sizes
    assert len(sampler) == len(sizes)


def test_every_sample_is_dropped_in_some_epoch_and_none_in_all():
    sampler = Shuffled(5, 4, seed=0)
    dropped = [set(range(5)) - set(flat(epoch_of(sampler, epoch))) for epoch in range(60)]
    assert all(len(samples) == 1 for samples in dropped)
    assert set.union(*dropped) == set(range(5))


STREAMS = [(10, 4, 3), (7, 4, 1), (3, 8, 2), (20, 5, 4), (100, 3, 2), (1, 4, 2)]


@pytest.mark.parametrize(("samples", "batch_size", "batches"), STREAMS)
def test_epochs_of_a_stream_continue_one_endless_sequence_of_permutations(samples, batch_size, batches):
    stream = Stream(samples, batch_size, batches, seed=2)
    epochs = -(-4 * samples // (batch_size * batches))
    sequence = [index for epoch in range(epochs) for index in flat(epoch_of(stream, epoch))]
    passes = [sequence[start : start + samples] for start in range(0, len(sequence) - samples + 1, samples)]
    assert len(passes) >= 4
    assert all(sorted(order) == list(range(samples)) for order in passes)
    if samples >= 10:
        assert len(set(map(tuple, passes))) == len(passes)


@pytest.mark.parametrize(("samples", "batch_size", "batches"), STREAMS)
def test_an_epoch_of_a_stream_alone_is_the_epoch_after_the_others(samples, batch_size, batches):
    stream = Stream(samples, batch_size, batches, seed=2)
    history = [epoch_of(stream, epoch) for epoch in range(7)]
    for epoch in (6, 0, 3):
        assert epoch_of(Stream(samples, batch_size, batches, seed=2), epoch) == history[epoch]


@pytest.mark.parametrize(("samples", "batch_size", "batches"), STREAMS)
def test_a_stream_gives_full_batches_as_many_as_it_is_asked_for(samples, batch_size, batches):
    stream = Stream(samples, batch_size, batches, seed=2)
    assert [len(batch.indices) for batch in stream] == [batch_size] * batches
    assert len(stream) == batches


@pytest.mark.parametrize("epoch", [0, 4])
def test_a_tickets_turn_is_the_epoch_where_an_epoch_is_a_pass(epoch):
    for batch in epoch_of(Shuffled(14, 4, seed=0), epoch):
        assert batch.turns == [epoch] * len(batch.indices)


@pytest.mark.parametrize(("samples", "batch_size", "batches"), STREAMS)
def test_in_a_stream_every_sample_has_every_turn_once_however_it_is_cut(samples, batch_size, batches):
    stream = Stream(samples, batch_size, batches, seed=2)
    epochs = -(-4 * samples // (batch_size * batches))
    found = [pair for epoch in range(epochs) for batch in epoch_of(stream, epoch) for pair in zip(*batch, strict=True)]
    for turn in range(4):
        assert sorted(found[turn * samples : (turn + 1) * samples]) == [(index, turn) for index in range(samples)]


def test_streams_of_different_seeds_differ():
    assert len({tuple(flat(Stream(50, 10, 5, seed))) for seed in range(5)}) == 5


@pytest.mark.parametrize(("samples", "batch_size"), [(12, 4), (13, 4), (3, 8), (1, 1), (0, 4)])
def test_in_order_is_every_sample_once_in_order(samples, batch_size):
    sampler = InOrder(samples, batch_size)
    batches = list(sampler)
    assert [index for batch in batches for index in batch] == list(range(samples))
    assert len(sampler) == len(batches)
    assert all(len(batch) == batch_size for batch in batches[:-1])


@pytest.mark.parametrize(
    "sampler", [Shuffled(50, 8, 0), Stream(50, 8, 3, 0), InOrder(50, 8)], ids=lambda s: type(s).__name__
)
def test_a_sampler_leaves_the_global_random_state_alone(sampler):
    before = torch.get_rng_state()
    list(sampler)
    assert torch.equal(torch.get_rng_state(), before)
