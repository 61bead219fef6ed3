"""How far scores of transferability foretold what runs achieved, as `compare` says it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import weightedtau

from transferlab import cli, scored
from transferlab.compare.foretold import tau

SOURCES = ("a", "b", "c", "d")
LOGME = dict(zip(SOURCES, (0.3, 0.1, 0.4, 0.2), strict=True))
APART = dict(zip(SOURCES, (2.0, 9.0, 1.0, 5.0), strict=True))
ACHIEVED = dict(zip(SOURCES, (0.7, 0.5, 0.9, 0.8), strict=True))


def config(source: str, labels=10) -> dict:
    return {
        "source": {"weights": f"{source}.pt", "data": None, "pretrain": {"trainer": {"threads": 1}}},
        "backbone": {"widths": [4, 8]},
        "target": {"labels": labels, "data": {"root": "${paths.data}"}},
        "task": {"metric": "accuracy"},
    }


@pytest.fixture
def study(write_run, tmp_path, monkeypatch):
    """Four sources, two seeds and two strategies, of which one starts from nothing; and a ranking beside them."""
    monkeypatch.chdir(tmp_path)
    for source in SOURCES:
        for seed in (0, 1):
            more = {"config": {**config(source), "strategy": {"start": "source"}}, "source": source, "seed": seed}
            write_run("full_finetune", score=ACHIEVED[source] + (seed - 0.5) / 50, **more)
            more["config"] = {**config(source), "strategy": {"start": "random"}}
            write_run("scratch", score=0.4, **more)
    return tmp_path / "runs" / "s"


def write(study: Path, name="one", labels=10, turn=1, threads=2) -> Path:
    """A ranking; how its source was computed may differ from how the runs' was."""
    rows = []
    for source in SOURCES:
        known = config(source, labels)
        known["source"]["pretrain"]["trainer"]["threads"] = threads
        scores = {"logme": turn * LOGME[source], "mean_distance": APART[source]}
        scores |= {"leep": 0.1} if source == "a" else {}
        rows.append({"source": source, "backbone": "convnet", "scores": scores, "config": {**known, "seed": 5}})
    return scored.write(study / scored.FOLDER / name, {"target": "digits", "settings": {}, "rows": rows})


def told(study: Path) -> pd.DataFrame:
    assert cli.main(["compare", "s"]) == 0
    return pd.read_csv(study / "comparison" / "foretold.csv")


def test_each_score_is_held_against_what_was_achieved(study, capsys):
    write(study)
    found = told(study).set_index("score")
    achieved = list(ACHIEVED.values())
    assert set(found.index) == {"logme", "mean_distance"} and set(found["strategy"]) == {"full_finetune"}
    assert found.loc["logme", "tau"] == pytest.approx(weightedtau(list(LOGME.values()), achieved).statistic)
    nearer = [-value for value in APART.values()]
    assert found.loc["mean_distance", "tau"] == pytest.approx(weightedtau(nearer, achieved).statistic)
    assert set(found["candidates"]) == {4}
    assert "Weighted Kendall tau" in (study / "comparison" / "comparison.md").read_text()
    assert "logme" in capsys.readouterr().out


def test_the_newest_ranking_counts_wherever_it_lies(study):
    old = write(study, turn=-1)
    new = write(study.parent / "other", "two")
    assert old.stat().st_mtime_ns < new.stat().st_mtime_ns
    logme = told(study).set_index("score").loc["logme", "tau"]
    assert logme == pytest.approx(weightedtau(list(LOGME.values()), list(ACHIEVED.values())).statistic)


def test_a_ranking_of_another_label_budget_says_nothing_of_these_runs(study):
    write(study, labels=5)
    assert told(study).empty


def test_a_ranking_that_cannot_be_read_is_passed_over(study):
    file = write(study)
    file.write_text(file.read_text()[:40])
    assert told(study).empty


def test_without_rankings_nothing_is_said(study):
    assert told(study).empty
    assert "Scores of transferability" not in (study / "comparison" / "comparison.md").read_text()


def test_tau_leaves_out_what_one_of_both_lacks():
    one, other = np.array([1.0, 2.0, np.nan, 4.0]), np.array([2.0, 1.0, 9.0, 5.0])
    assert tau(one, other) == weightedtau([1, 2, 4], [2, 1, 5]).statistic
    assert np.isnan(tau(one[:1], other[:1])) and np.isnan(tau(np.ones(4), other))
