from itertools import accumulate, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferlab.cache.planning import Work, chosen, seconds

FLOPS = [0.0, 4e7, 5e7, 9e7, 1.2e8]
BYTES = {1: 200_000, 2: 50_000, 3: 10_000, 4: 2_000}


def work(still: list[int], samples: int = 1000, flops: list[float] = FLOPS, device: str = "cpu") -> Work:
    return Work(still, list(accumulate([len(flops) - 1, *still[:-1]], min)), flops, samples, samples, device)


def test_a_probe_keeps_the_features_and_no_more():
    assert chosen(work([4] * 5), BYTES, (), 1e12) == [4]


def test_gradual_unfreezing_keeps_each_boundary_that_serves_two_epochs():
    task, small = work([4, 3, 2, 1, 0]), dict.fromkeys((1, 2, 3, 4), 8)
    assert chosen(task, small, (), 1e12) == [1, 2, 3]  # the features serve the first epoch alone
    assert chosen(task, small, [4], 1e12)[-1] == 4
    assert chosen(work([4, 4, 3, 3, 2, 2, 1, 1, 0]), small, (), 1e12) == [1, 2, 3, 4]


def test_one_epoch_alone_does_not_pay_unless_the_activations_are_there():
    assert chosen(work([4]), BYTES, (), 1e12) == []
    assert chosen(work([4]), BYTES, [4], 1e12) == [4]


def test_nothing_is_kept_where_the_device_is_faster_than_the_disk():
    assert chosen(work([1] * 9, flops=[0.0, 1e6]), {1: 10_000_000}, (), 1e15) == []


def test_what_costs_next_to_nothing_is_left_alone():
    assert chosen(work([4] * 5, samples=1), BYTES, (), 1e12) == []


def test_the_limit_holds_for_what_is_not_there_yet():
    assert chosen(work([1] * 9), {1: 200_000}, (), 1e8) == []
    assert chosen(work([1] * 9), {1: 200_000}, [1], 1e8) == [1]


def test_a_stage_that_trained_in_between_ends_what_was_kept_behind_it():
    # the first stage trains in the second epoch, so what was kept before serves one epoch alone
    assert chosen(work([4, 0, 4]), {4: 2_000}, (), 1e12) == []


@given(
    still=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    steps=st.lists(st.floats(1e6, 1e9), min_size=3, max_size=3),
    sizes=st.lists(st.integers(10, 10_000_000), min_size=3, max_size=3),
    ready=st.sets(st.integers(1, 3)),
)
def test_the_choice_is_never_worse_than_nothing_or_any_single_boundary(still, steps, sizes, ready):
    task = work(still, flops=list(accumulate(steps, initial=0.0)))
    kept = dict(enumerate(sizes, 1))
    cost = seconds(task, {one: kept[one] for one in chosen(task, kept, ready, 1e15)}, ready)
    others = [seconds(task, {one: kept[one] for one in some}, ready) for n in (0, 1) for some in combinations(kept, n)]
    assert cost <= min(others) + 0.05  # what is not worth the trouble


def test_seconds_of_a_run_by_hand():
    # 2e10 operations, 2e9 bytes read and 5e8 written a second
    task = work([2, 2, 1], samples=10, flops=[0.0, 2e10, 6e10])
    assert seconds(task, {}, ()) == pytest.approx(10 * (3 + 3 + 1))
    assert seconds(task, {1: 2_000_000_000}, ()) == pytest.approx(10 * ((1 + 4) + 2 * (2 + 1) + (0 + 1)))
    assert seconds(task, {2: 5_000}, [2]) == pytest.approx(10 * (0 + 0 + 1), abs=1e-3)
