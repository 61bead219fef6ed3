"""`transferlab rank`: what it says is what the scores say of the features that a run would start from."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from ranking_digits import ranked, scores, words
from scipy.stats import weightedtau

from transferlab import cli, nodes, pretraining, results
from transferlab.composing import Composer
from transferlab.data.target import train_and_test
from transferlab.folders import shipped
from transferlab.prefix.activations import Activations
from transferlab.ranking.asking import read
from transferlab.scored import scores_of
from transferlab.transferability.candidate import Candidate

BOTH = ("source=npz,none", "backbone=convnet,mlp", "bootstrap=0")
FAST = ("bootstrap=0", "scores=logme,h_score,leep,mean_distance")
NAMES = sorted(file.stem for file in shipped("conf").glob("score/*.yaml"))
UNSEEN = {"linear_cka", "task2vec_distance"}  # which need more than one candidate, and another pass


def naive(net: str, source: str) -> Candidate:
    """A candidate as anybody would make it: the net in evaluation mode, all samples at once."""
    config = read(words(f"source={source}", f"backbone={net}")).entrants[0].config
    backbone = nodes.build(config.backbone).eval()
    folder = results.folder(pretraining.config_of(config))
    parts = nodes.build(config.target).parts(config.seed)
    data, takes = nodes.build(config.source.data), nodes.build(config.backbone.input)
    state = torch.load(folder / "selected.pt", weights_only=True)
    given = {key.removeprefix("backbone.net."): value for key, value in state.items()}
    own = backbone.net.state_dict()
    backbone.net.load_state_dict({key: given[key] for key in own})

    def seen(samples):
        x, y = samples.prepared(takes)[list(range(len(samples)))]
        with torch.no_grad():
            return backbone(takes.normalised(x)), y

    (features, y), (beside, ys) = seen(parts.train), seen(train_and_test(data, 0.3)[0])
    logits = features.double() @ state["head.weight"].double().T + state["head.bias"].double()
    return Candidate(features, y, logits.softmax(1), beside, ys)


@pytest.mark.parametrize("net", ["convnet", "mlp"])
def test_scores_are_those_of_features_that_were_computed_by_hand(here, net):
    said = ranked(f"naive_{net}", "source=npz", f"backbone={net}", "bootstrap=0", "cache=off")
    (row,) = said["rows"]
    candidate = naive(net, "npz")
    assert row["scores"].keys() == set(NAMES) - UNSEEN
    for name, score in row["scores"].items():
        function = instantiate(OmegaConf.load(shipped("conf") / "score" / f"{name}.yaml"))
        assert score == pytest.approx(function(candidate), rel=2e-3, abs=1e-5), name
    assert (row["samples"], row["source_samples"]) == (len(candidate.features), len(candidate.source_features))


def test_every_score_is_in_the_command():
    with Composer("rank") as composer:
        assert sorted(composer.config([]).score) == NAMES


def test_neither_the_order_of_candidates_nor_who_else_is_there_matters(here):
    one = ranked("one", *BOTH, *FAST)
    other = ranked("other", "source=none,npz", "backbone=mlp,convnet", *FAST)
    alone = ranked("alone", "source=npz", "backbone=mlp", *FAST)
    assert one["folder"].name == other["folder"].name != alone["folder"].name
    assert [(row["source"], row["backbone"]) for row in one["rows"]] == [
        (row["source"], row["backbone"]) for row in other["rows"]
    ]
    assert scores(one) == scores(other)
    assert scores(alone)["npz", "mlp"] == scores(one)["npz", "mlp"]


def test_the_best_is_first_and_of_distances_the_nearest(here):
    up = [row["scores"]["logme"] for row in ranked("up", *BOTH, *FAST)["rows"]]
    assert up == sorted(up, reverse=True) and len(set(up)) == 4
    down = ranked("down", *BOTH, *FAST, "by=mean_distance")["rows"]
    assert [row["source"] for row in down] == ["npz", "npz", "none", "none"]
    assert down[0]["scores"]["mean_distance"] < down[1]["scores"]["mean_distance"]


def test_agreement_is_the_weighted_tau_of_scores_turned_one_way(here):
    said = ranked("agreement", *BOTH, "scores=logme,gbc,mean_distance")
    rows = said["rows"]
    logme, gbc = ([row["scores"][name] for row in rows] for name in ("logme", "gbc"))
    assert said["agreement"]["logme"]["gbc"] == pytest.approx(weightedtau(logme, gbc).statistic)
    both = [row["scores"] for row in rows if "mean_distance" in row["scores"]]
    tau = weightedtau([row["logme"] for row in both], [-row["mean_distance"] for row in both]).statistic
    assert len(both) == 2 and said["agreement"]["logme"]["mean_distance"] == pytest.approx(tau)


def test_what_was_passed_through_the_net_is_found_the_next_time(here, monkeypatch):
    shutil.rmtree("cache", ignore_errors=True)
    first = ranked("first", *BOTH, *FAST, "cache=on")
    assert not any(row["cached"] for row in first["rows"])

    def computed(*_):
        raise AssertionError("a sample went through the net")

    monkeypatch.setattr(Activations, "_compute", computed)
    again = ranked("again", *BOTH, *FAST, "cache=on")
    assert all(row["cached"] for row in again["rows"]) and scores(again) == scores(first)


def test_features_are_shared_with_runs(here):
    shutil.rmtree("cache", ignore_errors=True)
    run = ("strategy=linear_probe", "source=none", "trainer.max_epochs=1", "cache=on", "study=probed")
    assert cli.main(["train", *words(*run)]) == 0
    (row,) = ranked("shared", "source=none", "bootstrap=0", "scores=logme", "cache=on")["rows"]
    assert row["cached"]


@pytest.mark.parametrize(("labels", "by"), [("6", "logme"), ("none", "mean_distance")])
def test_hidden_labels_of_noise_change_nothing(here, labels, by, monkeypatch):
    from transferlab.data import labels as drawing

    seen = np.arange(60)  # whose labels an annotator was asked for
    monkeypatch.setattr(drawing, "seen", lambda y, *rest: seen)
    with np.load("target.npz") as arrays:
        x, y, names = (arrays[key] for key in ("x_train", "y_train", "classes"))
    noise = np.random.default_rng(3).integers(0, 10, len(y))
    if labels != "none":
        noise[seen] = y[seen]
    assert (noise != y).mean() > 0.5
    more = ("target.data.path=vault.npz", "source=npz", "bootstrap=10", f"target.labels={labels}", f"by={by}")
    np.savez("vault.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20], classes=names)
    true = ranked(f"true_{labels}", *more)
    np.savez("vault.npz", x_train=x, y_train=noise, x_test=x[:20], y_test=y[:20], classes=names)
    noisy = ranked(f"noisy_{labels}", *more)
    assert scores(true) == scores(noisy)
    assert true["rows"][0]["intervals"] == noisy["rows"][0]["intervals"]


def test_without_labels_what_reads_them_says_so(here, capsys):
    said = ranked("unlabelled", "source=npz", "target.labels=none", "by=mean_distance", "bootstrap=0")
    (row,) = said["rows"]
    assert {"mean_distance", "mmd_distance", "frechet_distance"} <= row["scores"].keys()
    assert {"logme", "leep", "otdd_distance", "probe_accuracy"} <= row["missing"].keys()
    assert "reads labels of the target, and there are none" in row["missing"]["logme"]
    assert "logme, h_score" in capsys.readouterr().out
    assert cli.main(["rank", *words("source=npz", "target.labels=none")]) == 1
    assert "by=logme: score logme reads labels of the target" in capsys.readouterr().err


def test_k_labels_a_class_are_all_that_is_scored(here):
    (row,) = ranked("few", "source=none", "target.labels=5", *FAST)["rows"]
    assert row["samples"] == 40  # of 50, one in five is held out to select


def test_a_cap_takes_of_each_class_its_share(here):
    (row,) = ranked("capped", "source=npz", "samples=50", *FAST)["rows"]
    assert (row["samples"], row["source_samples"]) == (50, 50)
    again = ranked("capped_again", "source=npz", "samples=50", *FAST)
    assert scores(again)["npz", "convnet"] == row["scores"]


def test_what_does_not_fit_is_named_and_left_out(here, capsys):
    said = ranked("unfit", "source=npz,none,checkpoint", "backbone=convnet,gru", *FAST)
    assert set(scores(said)) == {("npz", "convnet"), ("none", "convnet")}
    why = {(one["source"], one["backbone"]): one["reason"] for one in said["left_out"]}
    assert "source.weights" in why["checkpoint", "convnet"] and ("none", "gru") in why
    assert "Left out: checkpoint on convnet" in capsys.readouterr().out


@pytest.mark.parametrize("globs", ["co*net,ml?", "[cm]*n*t,ml[op]"])
def test_globs_name_what_they_match(here, globs, capsys):
    shutil.rmtree("runs/globs", ignore_errors=True)
    assert cli.main(["rank", *words("source=n*", f"backbone={globs}", "study=globs", *FAST)]) == 0
    assert "globs/ranking" in capsys.readouterr().out.replace("\n", "")
    with next(Path("runs/globs").glob("ranking/*/ranking.csv")).open() as file:
        names = {(row["source"], row["backbone"]) for row in csv.DictReader(file)}
    assert names == {(source, net) for source in ("none", "npz") for net in ("convnet", "mlp")}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("source=nonne", "there is no source 'nonne'; did you mean 'none'?"),
        ("backbone=vgg99*", "there is no backbone 'vgg99*'"),
        ("by=logmee", "there is no score (by) 'logmee'; did you mean 'logme'?"),
        ("by=task2vec_distance", "by=task2vec_distance: set task2vec=100"),
        ("by=linear_cka", "by=linear_cka: set reference=SOURCE/BACKBONE"),
        ("backbone=[convnet]", "there is no backbone '[convnet]'"),
        ("scores=logme,lep", "there is no scores 'lep'; did you mean 'leep'?"),
        ("intervals=x", "there is no intervals 'x'"),
        ("samples=1", "samples=1: at least 2"),
        ("bootstrap=1", "bootstrap=1: 0, or at least 2 draws"),
        ("target=digits,mnist5k", "target has several values"),
        ("source.pretrain.max_epoch=1", "did you mean 'max_epochs'?"),
        ("sampels=5", "there is no key 'sampels'; did you mean 'samples'?"),
        ("reference=none/mlp", "there is no candidate (reference) 'none/mlp'"),
        ("task=reconstruction", "rank for a task of whole samples"),
        ("pretrain=false source.pretrain.seed=7", "pretrain=false"),
    ],
)
def test_a_bad_word_is_named(here, word, said, capsys):
    assert cli.main(["rank", *words("source=npz", *word.split())]) == 1
    found = capsys.readouterr().err
    assert said in found and "Traceback" not in found


@pytest.mark.slow
def test_a_reference_is_seen_by_itself_as_itself(here):
    said = ranked("reference", *BOTH, "scores=logme,linear_cka", "reference=none/mlp")
    found = {key: row["linear_cka"] for key, row in scores(said).items()}
    assert found["none", "mlp"] == pytest.approx(1.0) and all(
        0 < value < 1 for key, value in found.items() if key != ("none", "mlp")
    )


def test_a_ranking_is_found_by_its_names(here):
    said = ranked("named", *BOTH, *FAST)
    assert scores_of(Path("runs"), "npz", "mlp", "npz") == scores(said)["npz", "mlp"]


def test_other_settings_of_a_score_are_another_ranking(here):
    said = [
        ranked(one, "source=none", "bootstrap=0", "scores=logme,gbc", f"score.gbc.covariance={one}")
        for one in ("spherical", "diagonal")
    ]
    assert len({one["folder"].name for one in said}) == 2


@pytest.mark.slow
def test_files_say_the_same(here):
    said = ranked("files", "source=npz,none", "bootstrap=20", "scores=logme,gbc", "tracker=wandb")
    with (said["folder"] / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["logme"]) for row in rows] == [row["scores"]["logme"] for row in said["rows"]]
    low, high = said["rows"][0]["intervals"]["logme"]
    assert (float(rows[0]["logme_low"]), float(rows[0]["logme_high"])) == (low, high)
    text = (said["folder"] / "ranking.md").read_text()
    assert "| source | backbone | logme | pass_seconds | scores_seconds | gbc |" in text and "20 draws" in text
    assert list(said["folder"].glob("wandb/offline-run-*/*.wandb"))


def test_tasks_are_embedded_where_that_is_asked_for(here):
    (row,) = ranked("embedded", "source=npz", "task2vec=20", "scores=logme,task2vec_distance", "bootstrap=0")["rows"]
    assert 0 < row["scores"]["task2vec_distance"] < 1
    (row,) = ranked("unembedded", "source=npz", "scores=logme,task2vec_distance", "bootstrap=0")["rows"]
    assert "task2vec_distance" in row["missing"]
