"""Successive halving on curves that are known: what it spends, whom it gives up, what is left."""

import random
from functools import partial
from itertools import pairwise
from math import nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.halving.brackets import bracket
from transferlab.halving.judging import check, reached
from transferlab.halving.search import Purse, Reached, search
from transferlab.selection import rules

WHOLE = 16


class Curves:
    """Candidates whose scores are known, and what was asked of them."""

    def __init__(self, curves: dict[str, list[float]], seconds: float = 0.0):
        self.curves, self.seconds, self.asked = curves, seconds, []

    def __call__(self, names, epochs):
        self.asked.append((list(names), epochs))
        before = max((earlier for _, earlier in self.asked[:-1]), default=0)
        return {
            name: Reached(max(self.curves[name][:epochs]), 0.0, epochs, self.seconds * (epochs - before))
            for name in names
        }


def noiseless(finals: list[float]) -> dict[str, list[float]]:
    """Curves that never cross."""
    return {f"c{i}": [final * (1 + e) / WHOLE for e in range(WHOLE)] for i, final in enumerate(finals)}


def chosen(curves, budget, twins=("c0",), factor=2):
    plan = bracket(len(curves), WHOLE, budget, factor)
    return search(list(curves), set(twins), Curves(curves), plan, Purse(epochs=budget))


finals = st.lists(st.floats(0.01, 1, allow_nan=False), min_size=2, max_size=12, unique=True)


@given(finals, st.floats(0.05, 1.2), st.sampled_from([2, 3, 4]))
@settings(max_examples=60, deadline=None)
def test_no_more_than_the_budget_is_ever_spent(finals, share, factor):
    curves = noiseless(finals)
    budget = share * WHOLE * len(curves)
    try:
        found = chosen(curves, budget, factor=factor)
    except InputError:
        assert budget < 2
    else:
        assert found.epochs <= budget
        assert found.epochs == sum(
            max(r.epochs for r in found.rungs if name in r.reached) for name in found.rungs[0].reached
        )


@given(finals, st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_where_all_enter_and_curves_do_not_cross_the_best_is_found(finals, more):
    curves = noiseless(finals)
    everyone = len(curves) * (1 + more * WHOLE)
    found = chosen(curves, max(everyone, 2))
    if found.bracket.entrants == len(curves):
        assert found.best == max(curves, key=lambda name: curves[name][-1])


@given(st.lists(st.lists(st.floats(0, 1), min_size=WHOLE, max_size=WHOLE), min_size=2, max_size=8))
@settings(max_examples=30, deadline=None)
def test_with_the_whole_budget_all_are_trained_whole_whatever_their_curves(curves):
    curves = {f"c{i}": curve for i, curve in enumerate(curves)}
    found = chosen(curves, WHOLE * len(curves))
    assert found.bracket.rungs == (WHOLE,) and found.epochs == WHOLE * len(curves)
    assert max(curves[found.best]) == max(map(max, curves.values()))


def test_the_twin_goes_to_the_last_rung_however_bad_it_is():
    curves = noiseless([0.001, *(0.5 + i / 100 for i in range(15))])
    found = chosen(curves, 0.6 * WHOLE * len(curves))
    assert len(found.rungs) > 1
    assert all("c0" in rung.reached for rung in found.rungs)
    assert found.rungs[0].twin == "c0" and found.best_twin == "c0" and found.transfers


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_better_half_goes_on_in_whatever_order_they_come(seed):
    curves = noiseless([i / 100 for i in range(1, 17)])
    curves = {name: curves[name] for name in random.Random(seed).sample(list(curves), 16)}
    found = chosen(curves, 0.5 * WHOLE * 16)
    going = [set(rung.reached) for rung in found.rungs]
    assert len(going) > 2
    for earlier, later in pairwise(going):
        best = sorted(earlier, key=lambda name: curves[name][-1])[-((len(earlier) + 1) // 2) :]
        assert later == {*best, "c0"}


def test_nothing_that_only_equals_the_twin_transfers():
    found = chosen({"c0": [0.5] * WHOLE, "c1": [0.5] * WHOLE, "c2": [0.4] * WHOLE}, 3 * WHOLE)
    assert not found.transfers and found.best_twin == "c0"


def test_one_that_failed_is_given_up_and_never_the_best():
    curves = {"c0": [0.1] * WHOLE, "c1": [nan] * WHOLE, "c2": [0.3] * WHOLE, "c3": [0.2] * WHOLE}
    found = chosen(curves, 0.7 * WHOLE * 4)
    assert found.best == "c2"
    assert "c1" not in found.rungs[-1].reached or len(found.rungs) == 1


def test_equals_are_told_apart_by_their_mean_then_by_their_order():
    rungs = {"a": Reached(0.5, 0.1, 4), "b": Reached(0.5, 0.2, 4), "c": Reached(0.5, 0.2, 4)}
    found = search(list(rungs), {"a"}, lambda names, _: rungs, bracket(3, 4, 12, 2), Purse())
    assert found.best == "b"


def test_seconds_are_a_budget_too():
    curves = noiseless([0.1, 0.2, 0.3, 0.4])
    plan = bracket(4, WHOLE, 0.99 * 4 * WHOLE, 2)
    spent = search(list(curves), {"c0"}, Curves(curves, seconds=1.0), plan, Purse(seconds=plan.rungs[0] * 4.0))
    assert len(spent.rungs) == 1 and spent.seconds <= plan.rungs[0] * 4
    whole = search(list(curves), {"c0"}, Curves(curves, seconds=1.0), plan, Purse(seconds=1e9))
    assert whole.rungs[-1].epochs == WHOLE


@pytest.mark.parametrize(("share", "rungs"), [(1.0, (16,)), (0.8, (8, 16)), (0.55, (4, 8, 16))])
def test_a_smaller_budget_has_more_rungs(share, rungs):
    assert bracket(32, WHOLE, share * 32 * WHOLE, 2).rungs == rungs


def test_a_budget_that_has_not_two_candidates_is_refused():
    with pytest.raises(InputError, match="too small to choose by"):
        bracket(5, WHOLE, 1, 2)
    with pytest.raises(InputError, match="a factor of at least 2"):
        bracket(5, WHOLE, 50, 1)


@given(st.integers(2, 60), st.integers(1, 60), st.floats(2, 500), st.floats(1, 3))
@settings(max_examples=100, deadline=None)
def test_more_budget_never_means_fewer_candidates(candidates, whole, budget, times):
    small, large = bracket(candidates, whole, budget, 2), bracket(candidates, whole, budget * times, 2)
    assert large.entrants >= small.entrants
    assert large.entrants > small.entrants or large.rungs[-1] >= small.rungs[-1]
    assert small.epochs <= budget


def test_a_rung_is_judged_by_the_epochs_up_to_it():
    rule = partial(rules.target_validation, metric="val/accuracy")
    rows = [{"epoch": i, "val/accuracy": value} for i, value in enumerate([0.2, 0.6, 0.4, None, 0.9])]
    assert reached(rows, rule, 3) == Reached(0.6, pytest.approx(0.4), 3)
    assert reached(rows, rule, 3, before=2).steady == 0.4
    assert reached(rows, rule, 8).score == 0.9 and reached(rows, rule, 8).epochs == 5
    assert reached([], rule, 3).score != reached([], rule, 3).score


def test_a_loss_is_better_when_it_is_less():
    rule = partial(rules.target_validation, metric="val/loss")
    assert reached([{"epoch": 0, "val/loss": 2.0}, {"epoch": 1, "val/loss": 1.0}], rule, 2).score == -1


def test_rules_that_cannot_choose_between_runs_are_refused():
    with pytest.raises(InputError, match="by test labels"):
        check(partial(rules.oracle, metric="test/accuracy"))
    with pytest.raises(InputError, match="nothing of which run"):
        check(partial(rules.last))
    check(rules.Unseen(partial(reached)))
