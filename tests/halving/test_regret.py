"""What choosing would have cost, on candidates that are known: against the best, chance, and one strategy always."""

from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.halving.regret import Known, regret

WHOLE = 16
PLAIN = {"factor": 2, "first": 1, "draws": 3}


def noiseless(finals: list[float], seeds=("0", "1", "2"), twin: int = 0) -> list[Known]:
    """Curves that never cross, and test scores that are their ends under every seed."""
    curves = [[final * (1 + e) / WHOLE for e in range(WHOLE)] for final in finals]
    return [
        Known(
            f"c{i}",
            "full_finetune" if i == 1 else f"s{i}",
            i == twin,
            dict.fromkeys(seeds, curve),
            dict.fromkeys(seeds, curve[-1]),
        )
        for i, curve in enumerate(curves)
    ]


finals = st.lists(st.floats(0.01, 1), min_size=2, max_size=9, unique=True)


@given(finals)
@settings(max_examples=30, deadline=None)
def test_with_everything_run_and_no_noise_nothing_is_lost(finals):
    assert regret(noiseless(finals), WHOLE, 1.0, **PLAIN).selected == 0


@given(finals)
@settings(max_examples=30, deadline=None)
def test_chance_loses_the_mean_exactly_and_one_strategy_always_what_it_lacks(finals):
    found = regret(noiseless(finals), WHOLE, 1.0, **PLAIN)
    assert found.chance == pytest.approx(max(finals) - fmean(finals))
    assert found.always == pytest.approx(max(finals) - finals[1])


@given(finals, st.floats(0.1, 1.0), st.floats(1.0, 3.0))
@settings(max_examples=30, deadline=None)
def test_without_noise_more_budget_never_loses_more(finals, budget, times):
    known = noiseless(finals)
    try:
        small = regret(known, WHOLE, budget, **PLAIN)
    except InputError:
        return
    large = regret(known, WHOLE, min(1.0, budget * times), **PLAIN)
    assert large.selected <= small.selected + 1e-12
    assert 0 <= small.selected <= max(finals) - min(finals) and small.spent <= budget + 1e-9


def test_where_the_budget_has_all_candidates_and_curves_do_not_cross_nothing_is_lost():
    known = noiseless([0.2 + i / 20 for i in range(12)])
    for budget in (0.25, 0.5, 1.0):
        assert regret(known, WHOLE, budget, **PLAIN).selected == 0


def test_what_is_chosen_is_scored_under_the_seeds_it_was_not_chosen_on():
    lucky = Known("lucky", "a", False, {"0": [1.0], "1": [0.0]}, {"0": 1.0, "1": 0.0})
    steady = Known("steady", "b", False, {"0": [0.5], "1": [0.5]}, {"0": 0.5, "1": 0.5})
    found = regret([lucky, steady], 1, 1.0, **PLAIN)
    # under seed 0 the lucky one is chosen and has 0 under seed 1, where 0.5 was to be had; under seed 1 the steady one
    # is chosen and has 0.5 under seed 0, where 1 was to be had
    assert found.selected == 0.5 and found.worst == 0.5


def test_a_late_starter_is_lost_to_a_small_budget_and_found_with_all_of_it():
    late = [0.0] * (WHOLE - 1) + [1.0]
    known = noiseless([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    known.append(Known("late", "late", False, dict.fromkeys("012", late), dict.fromkeys("012", 1.0)))
    assert regret(known, WHOLE, 0.4, **PLAIN).selected == pytest.approx(0.4)
    assert regret(known, WHOLE, 1.0, **PLAIN).selected == 0


def test_where_every_source_harms_the_twin_is_returned():
    found = regret(noiseless([0.9, 0.5, 0.6, 0.4]), WHOLE, 0.6, **PLAIN)
    assert found.guarded == 1 and found.selected == 0


def test_what_harms_on_fresh_seeds_is_not_chosen():
    twin = Known("twin", "scratch", True, {"0": [0.5], "1": [0.5], "2": [0.5]}, dict.fromkeys("012", 0.5))
    harms = Known("harms", "a", False, {"0": [0.9], "1": [0.1], "2": [0.1]}, {"0": 0.9, "1": 0.1, "2": 0.1})
    found = regret([twin, harms], 1, 1.0, **PLAIN)
    assert found.guarded == 1


def test_one_candidate_or_seeds_that_differ_are_refused():
    with pytest.raises(InputError, match="two candidates or more"):
        regret(noiseless([0.5]), WHOLE, 1.0, **PLAIN)
    with pytest.raises(InputError, match="under the same seeds"):
        regret([*noiseless([0.5]), *noiseless([0.4], seeds=("7",))], WHOLE, 1.0, **PLAIN)


def of_pairs() -> list[Known]:
    """Three pairs on two backbones with two candidates each, and a twin on each backbone."""
    finals = {("a", "x"): (0.3, 0.6), ("b", "x"): (0.5, 0.7), ("c", "y"): (0.8, 0.9), ("none", "x"): (0.2,)}
    finals |= {("none", "y"): (0.95,)}
    return [
        replace(
            noiseless([final])[0], name=f"{pair}{final}", twin=pair[0] == "none", alone=pair[0] == "none", pair=pair
        )
        for pair, own in finals.items()
        for final in own
    ]


def test_of_pairs_that_do_not_enter_nothing_is_chosen_but_all_that_is_lost_counts():
    known, all_of_it = of_pairs(), {"factor": 2, "first": 1, "draws": 3}
    assert regret(known, WHOLE, 1.0, **all_of_it).selected == 0
    # of the twins the one on the backbone of what enters alone, so that 0.7 is the best to be had there
    kept = regret(known, WHOLE, 1.0, **all_of_it, kept=[("a", "x"), ("b", "x")])
    assert kept.selected == pytest.approx(0.95 - 0.7) and kept.guarded == 0
    assert kept.chance == regret(known, WHOLE, 1.0, **all_of_it).chance
    # five candidates of eight take that share of all epochs at most
    assert kept.spent <= 5 / 8
    assert regret(known, WHOLE, 1.0, **all_of_it, kept=[("c", "y")]).guarded == 1


def test_few_candidates_are_seen_further_for_the_same_budget():
    known = of_pairs()
    kept = [("c", "y")]
    assert regret(known, WHOLE, 0.4, **PLAIN, kept=kept).selected == 0
    assert regret(known, WHOLE, 0.4, **PLAIN).spent <= 0.4
    with pytest.raises(InputError, match="two candidates or more that enter"):
        regret(known, WHOLE, 0.4, **PLAIN, kept=[])
