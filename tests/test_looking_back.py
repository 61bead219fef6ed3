"""`transferlab select --regret`: a whole study read, and what choosing within it would have cost."""

import csv
import json
from pathlib import Path

import pytest

from transferlab import cli, scored

EPOCHS, SEEDS = 8, (0, 1, 2)


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def study(finals: dict[str, float], harms: float = 0.0, name: str = "all", **config) -> None:
    """Records of a study in which every strategy was run; curves do not cross, and the test agrees with validation."""
    for strategy, final in finals.items():
        for seed in SEEDS:
            rows = [
                {"epoch": e, "val/accuracy": final * (1 + e) / EPOCHS, "trainable": [], "lr": {"head": 0.1}}
                for e in range(EPOCHS)
            ]
            selected = {"epoch": EPOCHS - 1, "val/accuracy": final, "test/accuracy": final}
            whole = {
                "strategy": {"start": "random" if strategy == "scratch" else "source"},
                "selection": {
                    "_target_": "transferlab.selection.rules.target_validation",
                    "_partial_": True,
                    "metric": "val/accuracy",
                },
                "target": {"labels": 10},
                "task": {"metric": "accuracy"},
                "trainer": {"max_epochs": EPOCHS},
                **config,
            }
            record = {
                "schema": 2,
                "run_id": f"{strategy}{seed}{name}",
                "study": name,
                "status": "finished",
                "reason": "",
                "axes": {"source": "a", "target": "b", "strategy": strategy, "backbone": "c", "seed": seed},
                "config": whole,
                "overrides": [],
                "metrics": {"selected": selected, "last": selected, "oracle": None},
                "history": rows,
                "cost": {"seconds": 1.0},
                "data": {},
                "environment": {},
                "tracker": {},
            }
            folder = Path("runs", name, record["run_id"])
            folder.mkdir(parents=True)
            (folder / "run.json").write_text(json.dumps(record))


def rows(name: str = "all") -> dict[float, dict[str, float]]:
    with Path("runs", name, "selection", "regret.csv").open() as file:
        found = list(csv.DictReader(file))
    return {
        float(row["budget"]): {key: float(row[key]) for key in ("selected", "chance", "always", "guarded", "spent")}
        for row in found
    }


FINALS = {"scratch": 0.5, "full_finetune": 0.8, "l2_sp": 0.9, "lp_ft": 0.7}


def test_against_the_best_chance_and_full_fine_tuning(capsys):
    study(FINALS)
    assert cli.main(["select", "--regret", "all", "--budgets", "0.6,1"]) == 0
    found = rows()
    for budget, row in found.items():
        assert row["selected"] == 0 and row["spent"] <= budget and row["guarded"] == 0
        assert row["chance"] == pytest.approx(0.9 - sum(FINALS.values()) / 4)
        assert row["always"] == pytest.approx(0.1)
    told = capsys.readouterr().out
    assert "10.0" in told and "always full_finetune" in told and "3 seeds" in told
    assert "| 100% | 100% | 0.0 |" in Path("runs/all/selection/regret.md").read_text()


def test_where_every_source_harms_scratch_is_what_is_chosen():
    study({**FINALS, "scratch": 0.95})
    assert cli.main(["select", "--regret=all", "--budgets=1"]) == 0
    assert rows()[1.0]["guarded"] == 1 and rows()[1.0]["selected"] == 0


def test_an_error_is_better_when_it_is_less(monkeypatch):
    study(FINALS)
    for file in Path("runs/all").glob("*/run.json"):
        record = json.loads(file.read_text())
        for row in (*record["history"], record["metrics"]["selected"], record["metrics"]["last"]):
            for key in ("val/accuracy", "test/accuracy"):
                if key in row:
                    row[key.replace("accuracy", "mse")] = 1 - row.pop(key)
        record["config"]["selection"]["metric"] = "val/mse"
        record["config"]["task"]["metric"] = "mse"
        file.write_text(json.dumps(record))
    assert cli.main(["select", "--regret", "all", "--budgets", "1"]) == 0
    assert rows()[1.0]["selected"] == 0 and rows()[1.0]["always"] == pytest.approx(0.1)


def test_a_candidate_that_lacks_a_seed_is_left_out_and_named(capsys):
    study(FINALS)
    Path("runs/all/l2_sp1all/run.json").unlink()
    assert cli.main(["select", "--regret", "all", "--budgets", "1"]) == 0
    assert "Left out, as they lack a seed: l2_sp." in capsys.readouterr().out
    assert rows()[1.0]["always"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--regret", "al"], "did you mean 'all'?"),
        (["--regret", "all", "--budgets", "25"], "--budgets 25: shares in (0, 1]"),
        (["--regret", "all", "--budgets", "0.01"], "too small to choose by"),
        (["--regret", "all", "--bugdets", "0.1"], "--help shows which flags there are"),
        (["--regret"], "--help shows which flags there are"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said(words, said, capsys):
    study(FINALS)
    assert cli.main(["select", *words]) == 1
    assert said in capsys.readouterr().err


def test_a_study_whose_epochs_were_chosen_by_the_test_split_says_nothing_of_choosing(capsys):
    study(
        FINALS,
        selection={"_target_": "transferlab.selection.rules.oracle", "_partial_": True, "metric": "test/accuracy"},
    )
    assert cli.main(["select", "--regret", "all"]) == 1
    assert "chooses by test labels" in capsys.readouterr().err


def test_pairs_that_a_ranking_puts_behind_do_not_enter(capsys):
    """As in a search; without a ranking of all pairs, or asked for all of them, every pair enters."""
    finals = {"scratch": 0.3, "full_finetune": 0.8, "l2_sp": 0.9}
    study(finals, source={"weights": "a"}, backbone={"width": 4})
    told = {"a": 1.0, "d": 2.0, "e": 3.0}
    for file in list(Path("runs/all").glob("*/run.json")):
        record = json.loads(file.read_text())
        for source in ("d", "e") if record["axes"]["strategy"] != "scratch" else ():
            other = json.loads(json.dumps(record))
            other["axes"]["source"], other["run_id"] = source, record["run_id"] + source
            other["config"]["source"] = {"weights": source}
            # what the ranking puts first is worse
            for row in (*other["history"], other["metrics"]["selected"], other["metrics"]["last"]):
                row.update({key: row[key] / 2 for key in ("val/accuracy", "test/accuracy") if key in row})
            (file.parent.parent / other["run_id"]).mkdir()
            (file.parent.parent / other["run_id"] / "run.json").write_text(json.dumps(other))
    assert cli.main(["select", "--regret", "all", "--budgets", "1"]) == 0
    assert rows()[1.0]["selected"] == 0 and "entered" not in capsys.readouterr().out
    ranked = []
    for source, value in told.items():
        node = {"source": {"weights": source}, "backbone": {"width": 4}, "target": {"labels": 10}}
        node["task"] = {"metric": "accuracy"}
        ranked.append({"source": source, "backbone": "c", "scores": {"logme": value}, "config": node})
    scored.write(Path("runs/all/ranking/one"), {"target": "b", "settings": {}, "rows": ranked})
    assert cli.main(["select", "--regret", "all", "--budgets", "1"]) == 0
    assert "Of 3 pairs of source and backbone 2 entered, the best by logme: e/c, d/c." in capsys.readouterr().out
    assert rows()[1.0]["selected"] == pytest.approx(0.9 - 0.45)
    for words in (["--keep", "0"], ["--keep", "3"], ["--score", "leep"]):
        assert cli.main(["select", "--regret", "all", "--budgets", "1", *words]) == 0
        assert rows()[1.0]["selected"] == 0
