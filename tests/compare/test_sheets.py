"""Every number of the sheets against NumPy and SciPy on the raw scores."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from transferlab.compare.comparison import analyse
from transferlab.compare.records import load
from transferlab.compare.sheets import HEADINGS, frames, sheets
from transferlab.compare.wording import bytes_text, flops_text, folded, p_text, settle_text

SEEDS = range(6)
STRATEGIES = ("scratch", "linear_probe", "l2_sp")
TARGETS = ("digits", "usps", "svhn", "kmnist", "mnist")
RNG = np.random.default_rng(7)
SCORES = {
    (target, strategy): 0.5 + 0.1 * at + RNG.normal(0, 0.03, len(SEEDS))
    for (at, strategy), target in product(enumerate(STRATEGIES), TARGETS)
}
ORACLE = {key: scores + RNG.uniform(0, 0.02, len(SEEDS)) for key, scores in SCORES.items()}
DRIFT = {key: RNG.uniform(0, 1, len(SEEDS)) for key in SCORES}


@pytest.fixture
def comparison(tmp_path, write_run):
    for (target, strategy), scores in SCORES.items():
        for seed, score in enumerate(scores):
            cost = {"seconds": 10.0 + seed, "samples": 4000, "trainable_parameters": 12345, "flops": 3.2e12}
            cost |= {"peak_memory_bytes": 900_000_000, "diagnostics_seconds": 1.5}
            epoch = {"epoch": 1, "val/accuracy": score / 2, "test/accuracy": score}
            metrics = {
                "selected": {"rule": "target_validation", **epoch},
                "last": {**epoch, "test/accuracy": score / 3},
            }
            metrics["oracle"] = {"rule": "oracle", "epoch": 0, "test/accuracy": ORACLE[target, strategy][seed]}
            row = {"epoch": 0, "val/accuracy": score, "trainable": ["head"], "lr": {"head": 0.1}}
            history = [row | {"diagnostics/drift/head": DRIFT[target, strategy][seed]}]
            write_run(strategy, seed, target=target, cost=cost, metrics=metrics, history=history)
    return analyse(load([tmp_path], "test/accuracy"))


def of(comparison, name, target=None):
    """A sheet's rows by their first cells, each a mapping from head to cell."""
    (sheet,) = [
        sheet
        for sheet in sheets(comparison)
        if sheet.name == name and (target is None or f"-> {target}," in sheet.title)
    ]
    return {row[0]: dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows}


def percent(mean, low, high, sign=""):
    return f"{100 * mean:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def student(values, sign="", confidence=0.95):
    return percent(
        np.mean(values), *stats.t.interval(confidence, len(values) - 1, np.mean(values), stats.sem(values)), sign
    )


def holm(p):
    """Holm 1979, written out."""
    order, found, highest = np.argsort(p), np.empty(len(p)), 0.0
    for at, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - at) * p[index]))
        found[index] = highest
    return found


def sign_flips(differences):
    """The exact permutation test of a mean of 0, every change of sign in turn."""
    sums = [abs(np.dot(signs, differences)) for signs in product((1, -1), repeat=len(differences))]
    return np.mean(np.array(sums) >= abs(np.sum(differences)) - 1e-12)


@pytest.mark.parametrize("target", TARGETS)
def test_scores_are_the_means_of_the_records_with_students_interval(comparison, target):
    rows = of(comparison, "scores", target)
    assert list(rows) == sorted(STRATEGIES, key=lambda name: -SCORES[target, name].mean())  # the best first
    for strategy, row in rows.items():
        values = SCORES[target, strategy]
        assert row["seeds"] == "6"
        assert row["test/accuracy % [95 %, Student]"] == student(values)
        assert row["sd"] == f"{100 * np.std(values, ddof=1):.1f}"
        assert "[" in row["[95 %, bootstrap]"]


@pytest.mark.parametrize("target", TARGETS)
def test_differences_and_their_tests_are_those_of_the_pairs(comparison, target):
    rows, others = of(comparison, "differences", target), STRATEGIES[1:]
    differences = [SCORES[target, name] - SCORES[target, "scratch"] for name in others]
    raw = np.array([sign_flips(values) for values in differences])
    wilcoxon = holm(np.array([stats.wilcoxon(values).pvalue for values in differences]))
    assert set(rows) == set(others)
    for name, values, p, p_holm, p_wilcoxon in zip(others, differences, raw, holm(raw), wilcoxon, strict=True):
        assert rows[name]["test/accuracy %, difference to scratch [95 %]"] == student(values, "+")
        assert rows[name]["paired seeds"] == "6"
        assert rows[name]["p"] == f"{p:.3f}"
        assert rows[name]["p (Holm)"] == f"{p_holm:.3f}"
        assert rows[name]["p (Wilcoxon, Holm)"] == f"{p_wilcoxon:.3f}"


def test_the_summary_says_what_the_sheets_behind_it_say(comparison):
    for target in TARGETS:
        summary, scores = of(comparison, "summary", target), of(comparison, "scores", target)
        differences = of(comparison, "differences", target)
        for strategy, row in summary.items():
            assert row["test/accuracy % [95 %]"] == scores[strategy]["test/accuracy % [95 %, Student]"]
            if strategy == "scratch":
                assert row["difference to scratch [95 %]"] == "baseline"
                assert row["against scratch"] == row["p (Holm)"] == "-"
            else:
                said = differences[strategy]["test/accuracy %, difference to scratch [95 %]"]
                assert row["difference to scratch [95 %]"] == said
            assert row["seconds"] == "12.5"  # the mean of 10..15


def test_verdicts_carry_the_interval_widened_for_all_that_are_judged(comparison):
    (sheet,) = [found for found in sheets(comparison) if found.name == "verdicts" and "-> digits," in found.title]
    rows = [dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows]
    found = {(row["strategy"], row["against"]): row for row in rows}
    # two are judged against scratch and one against the linear probe: three verdicts share 5 %
    confidence = 1 - 0.05 / 3
    for name, twin in (("l2_sp", "scratch"), ("linear_probe", "scratch"), ("l2_sp", "linear_probe")):
        values = SCORES["digits", name] - SCORES["digits", twin]
        low = stats.t.interval(confidence, 5, np.mean(values), stats.sem(values))[0]
        row = found.pop((name, twin))
        assert row["test/accuracy %, difference [interval]"] == student(values, "+", confidence)
        assert row["verdict"] == ("transfers" if low > 0 else "no evidence")
        assert row["interval"] == f"{100 * confidence:.4g} %"
    assert not found


def test_costs_are_means_and_marked_where_nothing_is_better_for_less(comparison):
    rows = of(comparison, "cost", "digits")
    best = max(STRATEGIES, key=lambda name: SCORES["digits", name].mean())
    for strategy, row in rows.items():
        mark = " *" * (strategy == best)  # all cost the same, so the best alone is on the front
        assert row["seconds"] == "12.5" + mark
        assert row["samples"] == "4,000" + mark
        assert row["trainable"] == "12,345" + mark
        assert row["FLOPs"] == "3.20e12" + mark
        assert row["peak memory"] == "858.3 MiB" + mark
        assert row["diagnostics"] == "1.5"


def test_selection_shows_the_rule_the_last_the_oracle_and_the_gap(comparison):
    for strategy, row in of(comparison, "selection", "usps").items():
        scores, oracle = SCORES["usps", strategy], ORACLE["usps", strategy]
        assert row["rule"] == "target_validation"
        assert row["selected test/accuracy %"] == f"{100 * scores.mean():.1f}"
        assert row["last"] == f"{100 * scores.mean() / 3:.1f}"
        assert row["oracle"] == f"{100 * oracle.mean():.1f}"
        assert row["gap [95 %]"] == student(oracle - scores, "+")


def test_overall_and_ranks_are_recomputed_from_all_settings(comparison):
    overall, ranks = of(comparison, "overall"), of(comparison, "ranks")
    means = np.array([[SCORES[target, name].mean() for name in STRATEGIES] for target in TARGETS])
    mean_rank = stats.rankdata(-means, axis=1).mean(0)
    for name, rank in zip(STRATEGIES, mean_rank, strict=True):
        values = np.concatenate([SCORES[target, name] for target in TARGETS])
        iqm = stats.trim_mean(values, 0.25)
        assert overall[name]["interquartile mean of test/accuracy % [95 %]"].startswith(f"{100 * iqm:.1f} [")
        assert overall[name]["settings"] == "5"
        assert overall[name]["runs"] == "30"
        assert overall[name]["mean rank"] == ranks[name]["mean rank"] == f"{rank:.2f}"
        if name != "scratch":
            wins = [np.mean(np.greater.outer(SCORES[target, name], SCORES[target, "scratch"])) for target in TARGETS]
            assert overall[name]["chance to beat scratch [95 %]"].startswith(f"{np.mean(wins):.2f} [")
    (sheet,) = [found for found in sheets(comparison) if found.name == "ranks"]
    assert f"chi-square {stats.friedmanchisquare(*means.T).statistic:.2f}, p " in sheet.note


def test_diagnostics_are_the_last_values_of_each_stage(comparison):
    (sheet,) = [found for found in sheets(comparison) if found.name == "diagnostics" and "-> svhn," in found.title]
    assert sheet.columns == ("diagnostic", "strategy", "head")
    for what, strategy, cell in sheet.rows:
        values = DRIFT["svhn", strategy]
        assert what == "drift"
        assert cell == f"{values.mean():.3g} ({values.std(ddof=1):.3g})"


def test_labels_make_columns_and_trials_are_compared_at_equal_numbers(tmp_path, write_run):
    for labels, seed in product((5, 10), range(3)):
        write_run("scratch", seed, 0.4 + labels / 100, config={"target": {"labels": labels}})
        for at, weight in enumerate((0.1, 1.0)):
            config = {"target": {"labels": labels}, "strategy": {"losses": {"l2_sp": {"weight": weight}}}}
            write_run("l2_sp", seed, 0.5 + at / 10 + labels / 100, config=config)
    comparison = analyse(load([tmp_path], "test/accuracy"))
    rows = of(comparison, "efficiency")
    assert rows["scratch"]["5 labels"].startswith("45.0 [")
    assert rows["scratch"]["10 labels"].startswith("50.0 [")
    tuned = of(comparison, "tuning", "digits target.labels=10")
    # of two trials with validation and test in the same order: one draw gives the mean, two the best with 3 in 4
    assert tuned["l2_sp"]["test/accuracy %, best of 1"] == "65.0"
    assert tuned["l2_sp"]["best of its own number"] == f"{100 * (0.25 * 0.6 + 0.75 * 0.7):.1f}"
    assert tuned["scratch"] | {"strategy": "scratch"} == {
        "strategy": "scratch",
        "trials": "1",
        "rule": "last",
        "test/accuracy %, best of 1": "50.0",
        "best of its own number": "50.0",
    }


def test_sheets_without_rows_are_left_out_and_all_rows_are_as_long_as_their_heads(tmp_path, comparison, write_run):
    for found in (comparison, alone(tmp_path, write_run)):
        for sheet in sheets(found):
            assert sheet.rows
            assert sheet.name in HEADINGS
            assert all(len(row) == len(sheet.columns) for row in sheet.rows)
            assert all(
                isinstance(cell, str) and cell and cell not in ("nan", "None") for row in sheet.rows for cell in row
            )
    assert {sheet.name for sheet in sheets(found)} == {"summary", "scores", "cost", "selection"}


def alone(tmp_path, write_run):
    write_run("scratch", 0, 0.5, study="alone")
    return analyse(load([tmp_path / "runs" / "alone"], "test/accuracy"))


def test_one_table_a_topic_has_all_settings_under_each_other(comparison):
    found = frames(comparison)
    assert list(found["scores"]["setting"].unique()) == [f"none -> {target}, convnet" for target in sorted(TARGETS)]
    assert len(found["scores"]) == len(SCORES)
    assert "setting" not in found["overall"]


def test_one_seed_says_so_in_place_of_an_interval(tmp_path, write_run):
    for strategy, seed, score in (("scratch", 0, 0.5), ("l2_sp", 0, 0.75), ("other", 1, 0.9)):
        write_run(strategy, seed, score)
    write_run("l2_sp", 0, 0.5, target="usps")
    comparison = analyse(load([tmp_path], "test/accuracy"))
    rows = of(comparison, "summary", "digits")
    assert rows["l2_sp"]["test/accuracy % [95 %]"] == "75.0 [one seed]"
    assert rows["l2_sp"]["difference to scratch [95 %]"] == "+25.0 [one seed]"
    assert rows["other"]["difference to scratch [95 %]"] == "no common seed"
    assert of(comparison, "summary", "usps")["l2_sp"]["difference to scratch [95 %]"] == "no baseline here"


def test_a_loss_is_no_percentage_and_the_lowest_comes_first(tmp_path, write_run):
    for strategy, score in (("scratch", 0.5), ("l2_sp", 0.7)):
        for seed in range(3):
            write_run(strategy, seed, score + seed / 100)
    comparison = analyse(load([tmp_path], "test/loss"))
    rows = of(comparison, "scores")
    assert list(rows) == ["l2_sp", "scratch"]
    assert rows["l2_sp"]["test/loss [95 %, Student]"].startswith("0.2900 [")
    assert of(comparison, "summary")["l2_sp"]["against scratch"] == "transfers"  # less of a loss is better


def test_what_is_left_out_is_named_with_its_reason(tmp_path, write_run):
    write_run("scratch", 0, 0.5)
    bad = write_run("l2_sp", 0, 0.5, status="diverged", reason="NaN in\nepoch 3")
    rows = of(analyse(load([tmp_path], "test/accuracy")), "left_out")
    assert rows[str(bad)] == {"where": str(bad), "kind": "diverged", "reason": "NaN in epoch 3"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (p_text(0.0312), "0.031"),
        (p_text(0.0009), "< 0.001"),
        (p_text(float("nan")), "-"),
        (settle_text(3, 0.1, 0.2, 5), "settled"),
        (settle_text(3, -0.2, -0.1, 3), "settled"),
        (settle_text(1234.0, -0.1, 0.2, 5), "1,234"),
        (settle_text(float("inf"), -0.1, 0.2, 5), "> 10,000"),
        (settle_text(float("nan"), None, None, 0), "-"),
        (settle_text(2, 0.1, 0.2, 2), "-"),
        (bytes_text(2**30 - 1), "1,024.0 MiB"),
        (bytes_text(3 * 2**29), "1.50 GiB"),
        (flops_text(1.5e9), "1.50e9"),
    ],
)
def test_numbers_are_written_as_a_paper_does(text, expected):
    assert text == expected


def test_a_folded_name_breaks_no_number_and_loses_no_letter():
    name = "l2_sp strategy.losses.l2_sp.weight=0.01 optimizer.lr=0.003"
    for width in range(14, 60):
        lines = folded(name, width)
        assert max(map(len, lines)) <= width
        assert "".join(lines).replace(" ", "") == name.replace(" ", "")
        assert any("0.01" in line for line in lines)
        assert any("0.003" in line for line in lines)


def test_every_table_of_scores_says_which_rule_chose_them(comparison):
    """Costs do not depend on the chosen epoch, nor do what was measured beside it and what is left out."""
    unchosen = {"cost", "diagnostics", "left_out", "rules"}
    chosen = [sheet for sheet in sheets(comparison) if sheet.name not in unchosen]
    assert {sheet.name for sheet in chosen} >= {"summary", "scores", "differences", "verdicts", "selection", "overall"}
    for sheet in chosen:
        assert "rule" in sheet.columns, sheet.name
        assert {row[sheet.columns.index("rule")] for row in sheet.rows} == {"target_validation"}
