import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.losses.features.queue import Queue


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.lists(st.integers(1, 9), max_size=5), st.integers(1, 3))
def test_it_holds_the_last_rows_whatever_the_sizes_of_batches(length, batches, now):
    queue, every = Queue(length, a=2, b=1), []
    for size in batches:
        rows = [(len(every) + n, (len(every) + n) % 3) for n in range(size)]
        numbers = torch.tensor([[float(number)] for number, _ in rows])
        queue.push(torch.tensor([label for _, label in rows]), a=numbers.expand(-1, 2), b=numbers)
        every += rows
    y = torch.arange(now) % 3
    same, other = queue.others(y)
    a, b = (queue.behind(kind, torch.full((now, size), -1.0)) for kind, size in (("a", 2), ("b", 1)))
    assert torch.equal(a[:, :1], b) and (a[:now] == -1).all()
    for sample in range(now):
        batch = [int(label) for n, label in enumerate(y) if n != sample]
        assert int(same[sample, :now].sum()) == batch.count(int(y[sample]))
        assert int(other[sample, :now].sum()) == len(batch) - batch.count(int(y[sample]))
        last = every[-length:]
        for mask, wanted in ((same, True), (other, False)):
            found = sorted(b[now:][mask[sample, now:]].flatten().tolist())
            assert found == [number for number, label in last if (label == int(y[sample])) == wanted]
    assert int(queue.pushed) == len(every)


def test_rows_carry_no_gradient_and_later_ones_do_not_change_what_was_read():
    queue = Queue(2, a=1)
    first = torch.ones(2, 1, requires_grad=True)
    queue.push(torch.tensor([0, 1]), a=first)
    read = queue.behind("a", first)
    queue.push(torch.tensor([0, 1]), a=5 * first)
    assert not read.requires_grad and torch.equal(read, torch.ones(4, 1))


def test_a_reloaded_queue_goes_on_where_the_saved_one_would():
    one, two = Queue(3, a=1), Queue(3, a=1)
    one.push(torch.tensor([0, 1]), a=torch.tensor([[1.0], [2.0]]))
    two.load_state_dict(one.state_dict())
    for queue in (one, two):
        queue.push(torch.tensor([2, 0]), a=torch.tensor([[3.0], [4.0]]))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert sorted(one.past_a.flatten().tolist()) == [2, 3, 4]


def test_an_empty_queue_offers_nothing():
    same, other = Queue(4, a=1).others(torch.tensor([0, 0, 1]))
    assert not same[:, 3:].any() and not other[:, 3:].any()
    with pytest.raises(KeyError):
        Queue(4, a=1).push(torch.tensor([0]), b=torch.zeros(1, 1))
