"""What diagnostics spend stays below their share, whatever the sizes."""

import random

import pytest

from transferlab.diagnostics.plan import plan, spread, work


def test_the_budget_holds_whatever_the_sizes_and_the_first_and_last_epoch_are_seen() -> None:
    draw = random.Random(0)
    looked = 0
    for _ in range(3000):
        budget, epochs = draw.uniform(0, 20_000), draw.randint(1, 200)
        once, each = draw.randint(0, 1), draw.randint(0, 12)
        chosen = plan(budget, epochs, once, each, draw.randint(4, 256), draw.choice([0, 500]), 4)
        spent = chosen.exam + chosen.probe * (once + each * len(chosen.epochs))
        assert spent <= budget
        if chosen.probe:
            looked += 1
            assert chosen.probe >= 4
            assert {0, epochs - 1} <= chosen.epochs <= set(range(epochs))
    assert looked > 1000


def test_more_budget_looks_more_often_up_to_every_epoch() -> None:
    counts = [len(plan(budget, 40, 1, 1, 80, 0, 4).epochs) for budget in (480, 960, 10_000)]
    assert counts == [5, 11, 40]  # (480 - 80) / 80, (960 - 80) / 80


def test_a_budget_too_small_for_two_looks_shrinks_the_probe_and_then_gives_it_up() -> None:
    assert plan(100, 10, 1, 1, 256, 0, 4).probe == 33  # 100 / (1 + 2)
    assert plan(11, 10, 1, 1, 256, 0, 4) == plan(0, 10, 1, 1, 256, 0, 4)


def test_epochs_are_spread_evenly() -> None:
    assert spread(3, 11) == {0, 5, 10}
    assert spread(1, 11) == {0, 10}
    assert spread(5, 1) == {0}


def test_work_counts_a_backward_pass_down_to_the_first_stage_that_trains() -> None:
    stages = ["a", "b", "c", "d"]
    assert work(stages, [{"a", "b", "c", "d", "head"}], 10) == 30
    assert work(stages, [{"head"}], 10) == 10
    assert work(stages, [{"head"}, {"d", "head"}], 10) == pytest.approx(10 + 10 * (1 + 2 / 4))
