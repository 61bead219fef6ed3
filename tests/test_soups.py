"""Model soups: the mean and Recipe 1 against their formulas, and that a soup is a run of its study like any other."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.swa_utils import update_bn

from transferlab import building, cli, soups
from transferlab.module import TransferModule
from transferlab.souping import bench
from transferlab.souping.groups import common, finished, groups, ingredients

EXAMPLES = settings(max_examples=60, deadline=None)


def states(count: int, seed: int) -> list[dict]:
    draw = torch.Generator().manual_seed(seed)
    return [
        {
            "w": torch.randn(3, 2, generator=draw),
            "half": torch.randn(5, generator=draw).to(torch.bfloat16),
            "batches": torch.tensor(index + 4),
        }
        for index in range(count)
    ]


def one_hot(count: int) -> list[dict]:
    """Nets whose mean tells which of them are in it."""
    return [{"w": row} for row in torch.eye(count)]


def members(state: dict) -> frozenset[int]:
    return frozenset(state["w"].nonzero().flatten().tolist())


def as_it_is(state: dict) -> dict:
    return state


@EXAMPLES
@given(count=st.integers(1, 9), seed=st.integers(0, 1000))
def test_the_uniform_soup_is_the_mean(count, seed):
    nets = states(count, seed)
    found = soups.uniform(iter(nets))
    for key in ("w", "half"):
        naive = sum(net[key].double() for net in nets) / count
        torch.testing.assert_close(found[key], naive.to(nets[0][key].dtype))
    assert found["batches"] == 4 and found["batches"].dtype == torch.int64


@EXAMPLES
@given(data=st.data(), count=st.integers(1, 6))
def test_the_greedy_soup_is_recipe_1_whatever_the_score(data, count):
    nets = one_hot(count)
    subsets = [frozenset(i for i in range(count) if mask >> i & 1) for mask in range(1, 2**count)]
    scores = data.draw(st.lists(st.integers(0, 4), min_size=len(subsets), max_size=len(subsets)))  # with many ties
    table = dict(zip(subsets, scores, strict=True))
    chosen: list[int] = []
    for i in range(count):
        before = table[frozenset(chosen)] if chosen else float("-inf")
        if table[frozenset([*chosen, i])] >= before:
            chosen.append(i)
    soup, kept = soups.greedy(iter(nets), lambda state: table[members(state)], as_it_is)
    assert [i for i, one in enumerate(kept) if one] == chosen
    torch.testing.assert_close(soup["w"], torch.stack([nets[i]["w"] for i in chosen]).double().mean(0).float())
    assert table[members(soup)] >= table[frozenset([0])]


@EXAMPLES
@given(count=st.integers(1, 7), seed=st.integers(0, 1000))
def test_the_greedy_soup_never_scores_below_the_best_ingredient(count, seed):
    nets = states(count, seed)
    goal = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed + 1))

    def score(state: dict) -> float:
        return -float((state["w"] - goal).square().sum())

    nets.sort(key=score, reverse=True)
    soup, kept = soups.greedy(nets, score, as_it_is)
    assert score(soup) >= score(nets[0]) and kept[0]


@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_soup_of_one_net_several_times_is_that_net(count):
    (net,) = states(1, 5)
    for found in (soups.uniform([net] * count), soups.greedy([net] * count, lambda state: 0.0, as_it_is)[0]):
        assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype for key, value in net.items())


def test_a_mean_without_a_score_is_not_kept():
    nan = float("nan")
    _, kept = soups.greedy(one_hot(3), lambda state: nan if 1 in members(state) else 0.5, as_it_is)
    assert kept == [True, False, True]


def test_what_is_scored_is_settled_and_what_is_averaged_is_not():
    scored = []

    def score(state: dict) -> float:
        scored.append(state["w"].clone())
        return 0.0

    soup, _ = soups.greedy(one_hot(3), score, lambda state: {"w": state["w"] + 10})
    nets = torch.eye(3)
    for found, wanted in zip(scored, (nets[0], nets[:2].mean(0) + 10, nets.mean(0) + 10), strict=True):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(soup["w"], nets.mean(0) + 10)


def test_what_configs_have_in_common():
    first = {"a": 1, "b": {"c": 2, "d": {"e": 3}}, "f": {}, "g": {"h": 1}}
    second = {"a": 1, "b": {"c": 5, "d": {"e": 3}}, "f": {}, "g": {}, "i": 1}
    assert common([first, second]) == {"a": 1, "b": {"d": {"e": 3}}, "f": {}}
    assert common([{"b": {"c": 2}}, {"b": {"c": 3}}]) == {}


BASE = [
    *("source=digits", "target=digits", "target.labels=10", "target.validation=0.4", "batch_size=16"),
    *("backbone.widths=[4,8]", "backbone.input.shape=[1,8,8]", "source.pretrain.max_epochs=1"),
    *("source.pretrain.target.labels=10", "tracker=none", "diagnostics=none", "trainer.accelerator=cpu"),
    *("trainer.max_epochs=2", "selection.metric=val/loss"),
]
SWEEP = ["-m", *BASE, "strategy=full_finetune,linear_probe", "optimizer.lr=0.03,0.1", "seed=0,1"]
STUDY = "s"


def train(runs: Path, *words: str, study: str = STUDY) -> None:
    assert cli.main(["train", *words, f"study={study}", f"paths.runs={runs}"]) == 0


def soup(runs: Path, *words: str, study: str = STUDY) -> int:
    return cli.main(["soup", study, "--runs", str(runs), *words])


def records(runs: Path, strategy: str, study: str = STUDY) -> dict[int, tuple[dict, Path]]:
    """The runs of a strategy, by seed and in no order."""
    read = [(json.loads(file.read_text()), file.parent) for file in (runs / study).glob("*/run.json")]
    return {record["axes"]["seed"]: (record, at) for record, at in read if record["axes"]["strategy"] == strategy}


def weights(folder: Path) -> dict:
    return torch.load(folder / "selected.pt", weights_only=True)


def scores_of(scores: dict) -> dict:
    return {key: value for key, value in scores.items() if key.startswith(("val/", "test/"))}


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """The runs of a small sweep: two strategies, two rates, two seeds."""
    runs = tmp_path_factory.mktemp("soups")
    train(runs, *SWEEP)
    return runs


@pytest.fixture
def runs(swept, tmp_path) -> Path:
    """A copy to make soups in."""
    return Path(shutil.copytree(swept, tmp_path / "runs"))


def test_soups_are_runs_of_the_study(runs, capsys):
    before = {folder.name for folder in (runs / STUDY).iterdir()}
    assert soup(runs) == 0
    assert "digits->digits convnet seed=1" in capsys.readouterr().out
    made = {folder.name for folder in (runs / STUDY).iterdir()} - before
    assert len(made) == 4
    for seed in (0, 1):
        own = [one for one in finished(runs / STUDY) if one.record["config"]["seed"] == seed and not one.is_soup]
        nets, losses = [weights(run.folder) for run in own], [run.selected("val/loss") for run in own]
        uniform, folder = records(runs, "uniform_soup")[seed]
        for key, value in weights(folder).items():
            if value.is_floating_point():
                mean = torch.stack([net[key].double() for net in nets]).mean(0)
                torch.testing.assert_close(value, mean.float())
        greedy, folder = records(runs, "greedy_soup")[seed]
        assert greedy["metrics"]["selected"]["val/loss"] <= min(losses)
        kept = [one["run_id"] for one in greedy["soup"]["ingredients"] if one["kept"]]
        mean = torch.stack([weights(runs / STUDY / name)["head.weight"].double() for name in kept]).mean(0)
        torch.testing.assert_close(weights(folder)["head.weight"], mean.float())
        assert [one["score"] for one in greedy["soup"]["ingredients"]] == sorted(losses)
        for record in (uniform, greedy):
            assert record["status"] == "finished" and record["run_id"] in made
            assert record["data"] == own[0].record["data"]
            assert set(record["metrics"]["selected"]) == set(own[0].record["metrics"]["selected"])
            cost = record["cost"]
            assert cost["samples"] == sum(run.record["cost"]["samples"] for run in own)
            assert cost["seconds"] > sum(run.record["cost"]["seconds"] for run in own)
            assert cost["total_parameters"] == own[0].record["cost"]["total_parameters"]
            assert "lr" not in record["config"]["optimizer"] and "momentum" in record["config"]["optimizer"]


def test_the_test_split_is_passed_once_a_soup(runs, monkeypatch):
    calls = []
    step = TransferModule.test_step
    monkeypatch.setattr(TransferModule, "test_step", lambda module, *batch: (calls.append(1), step(module, *batch))[1])
    assert soup(runs, "--kind", "greedy") == 0
    samples = records(runs, "greedy_soup")[0][0]["data"]["sizes"]["test"]
    assert len(calls) == 2 * -(-samples // 256)


def test_a_greedy_soup_of_one_run_scores_as_that_run(runs):
    own = [run for run in finished(runs / STUDY) if run.record["config"]["seed"] == 0]
    best, *others = sorted(own, key=lambda run: run.selected("val/loss"))
    for run in others:
        noise = {
            key: 1e3 * torch.randn_like(value) if value.is_floating_point() else value
            for key, value in weights(run.folder).items()
        }
        torch.save(
            {key: value.abs() if "var" in key else value for key, value in noise.items()}, run.folder / "selected.pt"
        )
    assert soup(runs, "--kind", "greedy") == 0
    record, folder = records(runs, "greedy_soup")[0]
    assert [one["kept"] for one in record["soup"]["ingredients"]] == [True, False, False, False]
    assert all(torch.equal(value, weights(best.folder)[key]) for key, value in weights(folder).items())
    assert scores_of(record["metrics"]["selected"]) == pytest.approx(scores_of(best.record["metrics"]["selected"]))
    assert record["report"] == best.record["report"]


@pytest.mark.slow
def test_compare_lists_soups_beside_the_runs_they_are_made_of(runs):
    train(runs, "-m", *BASE, "strategy=scratch", "optimizer.lr=0.1", "seed=0,1")
    assert soup(runs) == 0
    assert cli.main(["compare", STUDY, "--runs", str(runs)]) == 0
    table = pd.read_csv(runs / STUDY / "comparison" / "comparison.csv")
    assert len(table[["source", "target", "backbone"]].drop_duplicates()) == 1
    seeds = dict(zip(table["strategy"], table["seeds"], strict=True))
    rates = {f"{name} optimizer.lr={rate}" for name in ("full_finetune", "linear_probe") for rate in (0.03, 0.1)}
    assert seeds == dict.fromkeys({*rates, "scratch", "greedy_soup", "uniform_soup"}, 2)
    verdicts = pd.read_csv(runs / STUDY / "comparison" / "verdicts.csv")
    assert set(verdicts[verdicts["strategy"] == "greedy_soup"]["twin"].str.split().str[0]) == {
        "scratch",
        "linear_probe",
    }
    trials = pd.read_csv(runs / STUDY / "comparison" / "trials.csv")
    assert not set(trials["method"]) & {"greedy_soup", "uniform_soup"}, "a soup is no trial"


def test_the_same_command_finds_the_soups_and_training_again_its_runs(runs, capsys):
    assert soup(runs) == 0
    files = {file: file.read_bytes() for file in (runs / STUDY).glob("*/run.json")}
    capsys.readouterr()
    assert soup(runs) == 0
    assert "4 of 4 soups were there already" in capsys.readouterr().out
    train(runs, *BASE, "strategy=linear_probe", "optimizer.lr=0.1", "seed=1")
    assert {file: file.read_bytes() for file in (runs / STUDY).glob("*/run.json")} == files


def test_a_soup_of_more_runs_takes_the_place_of_the_earlier(runs, capsys):
    assert soup(runs, "--kind", "uniform", "--strategies", "full_finetune") == 0
    earlier = {seed: record for seed, (record, _) in records(runs, "uniform_soup").items()}
    assert [one["strategy"] for one in earlier[0]["soup"]["ingredients"]] == ["full_finetune"] * 2
    capsys.readouterr()
    train(runs, *BASE, "strategy=full_finetune", "optimizer.lr=0.03", "optimizer.weight_decay=0.01", "seed=1")
    assert soup(runs, "--kind", "uniform", "--strategies", "full_finetune") == 0
    out = capsys.readouterr().out
    assert f"the uniform soup {earlier[1]['run_id']} of other runs or statistics is replaced by" in out
    assert "1 of 2 soups were there already" in out
    later = {seed: record for seed, (record, _) in records(runs, "uniform_soup").items()}
    assert len(list((runs / STUDY).glob("*/run.json"))) == 8 + 1 + 2
    assert later[0]["run_id"] == earlier[0]["run_id"] and len(later[1]["soup"]["ingredients"]) == 3
    # what varies under one seed varies: else the soups of the two seeds would be two rows of a comparison
    assert "weight_decay" in earlier[0]["config"]["optimizer"]
    assert all("weight_decay" not in record["config"]["optimizer"] for record in later.values())


def test_a_soup_teaches_and_is_a_start(runs):
    assert soup(runs, "--kind", "uniform") == 0
    _, folder = records(runs, "uniform_soup")[0]
    start = [
        *BASE[1:6],
        "backbone.input.shape=[1,8,8]",
        "tracker=none",
        "diagnostics=none",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=1",
    ]
    start += ["source=checkpoint", f"source.weights={folder / 'selected.pt'}", "strategy=kd"]
    teacher = ["+strategy/teacher@strategy.teachers.soup=run", f"strategy.teachers.soup.folder={folder}"]
    train(runs, *start, *teacher, study="taught")
    record, _ = records(runs, "kd", "taught")[0]
    assert record["history"][0]["train/kd_loss"] >= 0
    assert record["data"]["source_duplicates"] == 0, "what the soup has seen is known"


def bench_of(runs: Path, strategy: str) -> bench.Bench:
    own, _ = ingredients(finished(runs / STUDY), [strategy])
    return bench.Bench(groups(own)[0][0])


def test_recomputed_statistics_are_torchs_on_the_training_samples(runs):
    assert soup(runs, "--kind", "uniform", "--strategies", "full_finetune", "--batchnorm", "recomputed") == 0
    record, folder = records(runs, "uniform_soup")[0]
    assert record["soup"]["batchnorm"] == "recomputed"
    made = bench_of(runs, "full_finetune")
    mean = soups.uniform(made.states())
    net = building.net(bench._plain(record["config"]), made.module.task)
    net.load_state_dict({key.removeprefix("backbone."): v for key, v in mean.items() if key.startswith("backbone.")})
    x, _ = made.data.on_after_batch_transfer(made.data.sets.train[list(range(len(made.data.sets.train)))], 0)
    update_bn(x.split(16), net)
    for key, value in weights(folder).items():
        wanted = net.state_dict()[key.removeprefix("backbone.")] if key.startswith("backbone.") else mean[key]
        torch.testing.assert_close(value, wanted)
    assert any(not torch.equal(value, mean[key]) for key, value in weights(folder).items() if "running_mean" in key)


def test_statistics_that_were_frozen_are_not_recomputed(runs):
    made = bench_of(runs, "linear_probe")
    mean = soups.uniform(made.states())
    assert all(torch.equal(value, mean[key]) for key, value in made.recomputed(mean).items())


def test_weights_of_another_net_are_left_out_by_one_key(runs, capsys):
    own = [
        run for run in finished(runs / STUDY) if run.record["config"]["seed"] == 0 and run.strategy == "linear_probe"
    ]
    for run, change in zip(own, ("less", "more"), strict=True):
        state = weights(run.folder)
        state = (
            {"head.weight": state["head.weight"]}
            if change == "less"
            else {**state, "backbone.net.lora.A": torch.zeros(2)}
        )
        torch.save(state, run.folder / "selected.pt")
    assert soup(runs, "--kind", "uniform") == 0
    out = capsys.readouterr().out
    assert f"{own[0].run_id} (linear_probe): its selected.pt lacks backbone.net." in out
    assert f"{own[1].run_id} (linear_probe): its selected.pt has backbone.net.lora.A besides" in out
    found = records(runs, "uniform_soup")[0][0]["soup"]["ingredients"]
    assert [one["strategy"] for one in found] == ["full_finetune"] * 2
    assert soup(runs, "--kind", "uniform", "--strategies", "linear_probe") == 0  # seed 1 alone
    assert set(records(runs, "uniform_soup")) == {0, 1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "there is no study 'nowhere'"),
        ([STUDY, "--kind", "thick"], "--help shows which flags there are"),
        ([STUDY, "--strategies", "l2_sp"], "there is no strategy among these runs 'l2_sp'"),
        (["wandb:me/project"], "has no weights to average"),
        (["empty"], "there is no finished run in"),
    ],
)
def test_what_cannot_be_asked_for_is_said(words, said, swept, capsys):
    (swept / "empty").mkdir(exist_ok=True)
    assert cli.main(["soup", *words, "--runs", str(swept)]) == 1
    assert said in capsys.readouterr().err


def test_runs_alone_and_runs_from_random_weights_make_no_soup(runs, capsys):
    for run in finished(runs / STUDY):
        if run.strategy == "full_finetune":
            record = {**run.record, "axes": {**run.record["axes"], "strategy": "scratch"}}
            record["data"] = {**record["data"], "source_weights": None}
            (run.folder / "run.json").write_text(json.dumps(record))
        elif run.record["config"]["optimizer"]["lr"] == 0.03:
            (run.folder / "selected.pt").unlink()
    assert soup(runs) == 1
    told = capsys.readouterr()
    assert "left out: scratch (4), which started from random weights" in told.out
    assert "left out: linear_probe (2), whose selected.pt is gone" in told.out
    assert "seed=0: one run alone" in told.out and "seed=1: one run alone" in told.out
    assert "nothing in" in told.err and "optimizer.lr=0.01,0.03,0.1" in told.err


def test_without_held_out_labels_only_a_uniform_soup_is_made(tmp_path, capsys):
    words = [word for word in BASE if not word.startswith(("selection", "target.validation"))]
    words += ["selection=last", "target.validation=0", "strategy=full_finetune", "optimizer.lr=0.03,0.1"]
    words += ["trainer.max_epochs=1"]
    train(tmp_path, "-m", *words)
    assert soup(tmp_path, "--kind", "greedy") == 1
    told = capsys.readouterr()
    assert "no labels are held out to choose a greedy soup on (target.validation)" in told.out
    assert "for the reasons above" in told.err
    assert soup(tmp_path) == 0
    (record, _) = records(tmp_path, "uniform_soup")[0]
    assert not records(tmp_path, "greedy_soup") and not [key for key in record["metrics"]["last"] if "val/" in key]
