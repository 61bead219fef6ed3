"""Selection rules: every number against NumPy and SciPy on the raw records, or worked out by hand."""

import warnings
from io import StringIO
from itertools import product

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from transferlab.compare import report
from transferlab.compare.comparison import analyse
from transferlab.compare.records import load
from transferlab.compare.rules import spearman
from transferlab.compare.sheets import frames, sheets

METRIC = "test/accuracy"
RULES, TARGETS, STRATEGIES = ("entropy", "last", "target_val"), ("digits", "usps"), ("source_only", "dann", "mcd")
SEEDS = range(4)
RNG = np.random.default_rng(11)
TESTED = {key: RNG.uniform(0.4, 0.8) for key in product(TARGETS, STRATEGIES, SEEDS, RULES)}
# `last` scores every run alike, and the others more or less as the test labels do
SCORED = {
    key: 9.0 if key[-1] == "last" else score + RNG.normal(0, 0.1 if key[-1] == "target_val" else 1.0)
    for key, score in TESTED.items()
}
ORACLE = {key[:-1]: 0.8 + RNG.uniform(0, 0.1) for key in TESTED}
COLLAPSED = {("digits", "dann", 1, "last"), ("usps", "mcd", 0, "last"), ("usps", "mcd", 0, "entropy")}


def said(rule, score, tested, collapsed=False):
    """A rule's part of a record; `tested` None: without `oracle=true`."""
    scores = {} if tested is None else {METRIC: tested, "test/loss": 1 - tested}
    return {rule: {"epoch": 2, "score": score, "collapsed": collapsed, **scores}}


def metrics(score, oracle):
    epoch = {"epoch": 1, METRIC: score, "test/loss": 1 - score}
    best = None if oracle is None else {"rule": "oracle", "epoch": 0, METRIC: oracle, "test/loss": 1 - oracle}
    return {"selected": {"rule": "last", **epoch}, "last": epoch, "oracle": best}


@pytest.fixture
def study(tmp_path, write_run):
    """Every run has been scored under every rule; in usps, source_only lacks a seed."""
    for target, strategy, seed in product(TARGETS, STRATEGIES, SEEDS):
        if (target, strategy, seed) == ("usps", "source_only", 3):
            continue
        rules = {}
        for rule in RULES:
            key = (target, strategy, seed, rule)
            rules |= said(rule, SCORED[key], TESTED[key], key in COLLAPSED)
        found = metrics(0.5, ORACLE[target, strategy, seed])
        write_run(strategy, seed, target=target, metrics=found, rules=rules)
    return tmp_path / "runs"


def runs(rule, target=None, strategy=None):
    """Keys of the runs that there are, under a rule."""
    keys = [key for key in TESTED if key[-1] == rule and key[:-1] != ("usps", "source_only", 3)]
    return [key for key in keys if target in (None, key[0]) and strategy in (None, key[1])]


def one_run(write_run, strategy, seed, tested, score=0.0, rule="entropy", oracle=0.9, **more):
    found = metrics(0.5, oracle if tested is not None else None)
    return write_run(strategy, seed, metrics=found, rules=said(rule, score, tested), **more)


def quality(folder, metric=METRIC):
    return analyse(load([folder], metric)).rule_quality.set_index("rule")


def test_a_strategys_mean_under_a_rule_is_that_of_its_seeds_and_the_oracle_stands_beside(study):
    comparison = analyse(load([study], METRIC))
    shown = [sheet for sheet in sheets(comparison) if sheet.name == "rules"]
    assert [sheet.title for sheet in shown] == ["none -> digits, convnet", "none -> usps, convnet"]
    for target, sheet in zip(TARGETS, shown, strict=True):
        assert sheet.columns == ("strategy", *RULES, "oracle")
        assert {row[0] for row in sheet.rows} == set(STRATEGIES)
        for strategy, *cells in sheet.rows:
            means = [np.mean([TESTED[key] for key in runs(rule, target, strategy)]) for rule in RULES]
            oracle = np.mean([ORACLE[key[:-1]] for key in runs("last", target, strategy)])
            assert cells == [f"{100 * mean:.1f}" for mean in (*means, oracle)]


def test_the_rank_correlation_is_scipys_of_each_setting_in_the_mean(study):
    found = quality(study)
    for rule in RULES[::2]:
        settings = [runs(rule, target) for target in TARGETS]
        each = [stats.spearmanr([SCORED[k] for k in keys], [TESTED[k] for k in keys]).statistic for keys in settings]
        assert found.loc[rule, "correlation"] == pytest.approx(np.mean(each), rel=1e-12)
        assert found.loc[rule, "correlated_settings"] == 2
    assert np.isnan(found.loc["last", "correlation"])  # all its scores are one
    assert list(found["runs"]) == [23] * 3


def test_of_a_loss_the_rank_correlation_is_that_of_the_order_from_good_to_bad(study):
    accuracy, loss = quality(study), quality(study, "test/loss")
    assert loss["correlation"].to_dict() == pytest.approx(accuracy["correlation"].to_dict(), nan_ok=True)
    assert loss["below"].to_dict() == accuracy["below"].to_dict()
    assert loss["gap"].to_dict() == pytest.approx((-accuracy["gap"]).to_dict())


def test_the_gap_is_the_mean_over_runs_and_the_collapsed_are_counted(study):
    found = quality(study)
    for rule in RULES:
        gaps = [ORACLE[key[:-1]] - TESTED[key] for key in runs(rule)]
        assert found.loc[rule, "gap"] == pytest.approx(np.mean(gaps), rel=1e-12)
        assert found.loc[rule, "collapsed"] == sum(key in COLLAPSED for key in runs(rule))
        assert found.loc[rule, "runs_in_all"] == 23


def test_the_overhead_of_honesty_counts_strategies_below_source_only_on_common_seeds(study):
    found = quality(study)
    for rule in RULES:
        below = 0
        for target, strategy in product(TARGETS, STRATEGIES[1:]):
            seeds = [seed for seed in SEEDS if (target, seed) != ("usps", 3)]
            own, source = ([TESTED[target, name, seed, rule] for seed in seeds] for name in (strategy, "source_only"))
            below += np.mean(own) < np.mean(source)
        assert (found.loc[rule, "below"], found.loc[rule, "cells"]) == (below, 4)


def test_only_common_seeds_count_and_equal_means_are_not_below(tmp_path, write_run):
    for seed, score in enumerate((0.7, 0.8, 0.9)):
        one_run(write_run, "source_only", seed, score)
    for seed, score in enumerate((0.8, 0.9, 0.7)):  # the same numbers in another order
        one_run(write_run, "dann", seed, score)
    for seed, score in ((1, 0.81), (2, 0.91), (7, 0.0)):  # better on the two that are common, worse in all
        one_run(write_run, "mcd", seed, score)
    one_run(write_run, "coral", 2, 0.89)
    one_run(write_run, "adda", 8, 0.1)  # shares no seed
    found = quality(tmp_path).loc["entropy"]
    assert (found["below"], found["cells"]) == (1, 3)  # coral, of dann, mcd and coral
    (row,) = frames(analyse(load([tmp_path], METRIC)))["rule_quality"].to_dict("records")
    assert row["overhead of honesty (below source_only)"] == "33.3 % (1 of 3)"


def test_a_strategy_of_another_budget_is_not_held_against_source_only(tmp_path, write_run):
    one_run(write_run, "source_only", 0, 0.7, config={"trainer": {"max_epochs": 2}})
    one_run(write_run, "dann", 0, 0.6, config={"trainer": {"max_epochs": 9}})
    one_run(write_run, "mcd", 0, 0.6, config={"trainer": {"max_epochs": 2}})
    found = quality(tmp_path).loc["entropy"]
    assert (found["below"], found["cells"]) == (1, 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [4, 4, 4]), ([1, 2, np.nan], [1, 2, 3])],
    ids=["two", "constant scores", "constant tests", "two known"],
)
def test_there_is_no_rank_correlation_of_two_runs_or_of_constants(one, other):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # SciPy's, of constants
        assert np.isnan(spearman(pd.Series(one, dtype=float), pd.Series(other, dtype=float)))


def test_what_is_not_known_is_a_dash(tmp_path, write_run):
    for seed in range(2):
        one_run(write_run, "dann", seed, 0.5 + seed / 10, score=seed)
    one_run(write_run, "dann", 2, 0.9, score=None)
    one_run(write_run, "dann", 3, None, rule="bnm")
    comparison = analyse(load([tmp_path], METRIC))
    rows = {row["rule"]: row for row in frames(comparison)["rule_quality"].to_dict("records")}
    assert rows["entropy"] == {
        "rule": "entropy", "runs": "3", "gap to the oracle, test/accuracy %": "+23.3", "collapsed": "0 of 3"
    }  # fmt: skip
    assert rows["bnm"] == {
        "rule": "bnm", "runs": "0", "gap to the oracle, test/accuracy %": "-", "collapsed": "0 of 1"
    }  # fmt: skip
    assert frames(comparison)["rules"].columns.tolist() == ["strategy", "entropy", "oracle"]


def test_the_oracle_is_no_rule_that_is_judged(tmp_path, write_run):
    rules = said("entropy", 0.1, 0.5) | said("oracle", 0.9, 0.9)
    write_run("dann", 0, metrics=metrics(0.9, 0.9), rules=rules)
    comparison = analyse(load([tmp_path], METRIC))
    assert list(comparison.rule_quality["rule"]) == ["entropy"]
    assert set(comparison.rules["runs"]) == {1}  # not counted twice
    assert frames(comparison)["rules"].to_dict("records") == [{"strategy": "dann", "entropy": "50.0", "oracle": "90.0"}]


def test_runs_without_test_scores_are_counted_and_named_and_enter_no_mean(tmp_path, write_run):
    tested = [one_run(write_run, name, 0, 0.5) for name in ("source_only", "dann")]
    untested = [one_run(write_run, "dann", 1, None), write_run("dann", 2)]
    comparison = analyse(load([tmp_path], METRIC))
    (note,) = [note for note in comparison.notes if "oracle=true" in note]
    assert note.startswith("2 of 4 runs have no test/accuracy")
    assert all(folder.name in note for folder in untested) and not any(folder.name in note for folder in tested)
    assert comparison.rule_quality.loc[0, ["runs", "runs_in_all"]].tolist() == [2, 3]
    assert set(comparison.rules["runs"]) == {1}


def test_without_source_only_a_note_says_so_and_with_it_none_does(tmp_path, write_run, study):
    assert not any("honesty" in note or "oracle=true" in note for note in analyse(load([study], METRIC)).notes)
    rules = said("entropy", 0.0, 0.5) | said("snd", 0.0, 0.5)
    write_run("dann", 0, metrics=metrics(0.5, 0.9), rules=rules, study="lone")
    (note,) = [note for note in analyse(load([study / "lone"], METRIC)).notes if "overhead of honesty" in note]
    assert "source_only" in note


def test_studies_of_older_versions_say_nothing_of_rules(tmp_path, write_run):
    write_run("scratch", 0)
    write_run("l2_sp", 0, rules=None)
    comparison = analyse(load([tmp_path], METRIC))
    assert comparison.rules.empty and comparison.rule_quality.empty
    assert not {"rules", "rule_quality"} & frames(comparison).keys()
    assert not any("rule" in note for note in comparison.notes)


def test_runs_that_differ_in_what_rules_look_on_are_runs_of_one_strategy(tmp_path, write_run):
    for seed, samples in ((0, 100), (1, 2000)):
        one_run(write_run, "dann", seed, 0.5, config={"rules": {"samples": samples}})
    assert set(load([tmp_path], METRIC).table["strategy"]) == {"dann"}


@pytest.mark.parametrize(
    "rules",
    [
        ["entropy"],
        {"entropy": 3},
        {"entropy": {"epoch": "two"}},
        {"entropy": {"score": True}},
        {"entropy": {"collapsed": 1}},
        {"entropy": {METRIC: "high"}},
    ],
    ids=["a list", "a number", "a word", "a truth", "a count", "a word for a test score"],
)
def test_a_record_whose_rules_are_none_is_left_out(tmp_path, write_run, rules):
    write_run("scratch", 0)
    bad = write_run("dann", 0, rules=rules)
    assert [(item.where, item.kind) for item in load([tmp_path], METRIC).left_out] == [(str(bad), "unreadable")]


def test_what_a_rule_did_not_say_is_missing_alone(tmp_path, write_run):
    write_run("dann", 0, rules={"entropy": {"epoch": 0}})
    (run,) = load([tmp_path], METRIC).runs.values()
    assert run.rules == {"entropy": {"epoch": 0, "collapsed": False}}


def test_every_output_tells_of_the_rules(study):
    comparison = analyse(load([study], METRIC))
    console = Console(width=80, file=StringIO())
    report.show(comparison, console)
    csv = {name: pd.read_csv(StringIO(text)) for name, text in report.numbers(comparison)}
    (sheet,) = [sheet for sheet in sheets(comparison) if sheet.name == "rule_quality"]
    markdown, latex, terminal = report.markdown(comparison), report.latex(comparison), console.file.getvalue()
    assert max(map(len, terminal.splitlines()[: terminal.splitlines().index("none -> digits, convnet")])) <= 80
    for row in sheet.rows:
        assert f"| {' | '.join(row)} |" in markdown
        assert " & ".join(row).replace("_", r"\_").replace("%", r"\%") in latex
        assert all(cell in terminal for cell in row)
    assert markdown.count("## Selection rules\n") == markdown.count("## Selection rules against the oracle\n") == 1
    assert latex.count(r"\begin{table}") == 2 + 2 + 1
    for name in ("rules", "rule_quality"):
        pd.testing.assert_frame_equal(csv[name], getattr(comparison, name), rtol=1e-15)


def test_of_the_rule_that_chose_the_runs_own_score_counts_without_an_oracle(tmp_path, write_run):
    """Whether adapting harms is known of the declared rule wherever source_only ran too."""
    for strategy, score in (("source_only", 0.6), ("dann", 0.5)):
        for seed in (0, 1):
            found = metrics(score, None)
            rules = said("last", 0.0, None) | said("entropy", 0.0, None)
            write_run(strategy, seed, metrics=found, rules=rules)
    judged = quality(tmp_path)
    assert judged.loc["last", ["runs", "below", "cells"]].tolist() == [2 * 2, 1, 1]
    assert judged.loc["entropy", ["runs", "below", "cells"]].tolist() == [0, 0, 0]
