"""Membership inference against scikit-learn, naive loops, and samples whose source is known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve
from torch.nn.functional import cross_entropy

from transferlab import cli
from transferlab.diagnostics.privacy import likelihood_ratios, loss_threshold, told_apart


def scores(ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    members, nonmembers = rng.normal(0.7, 1, 230), rng.normal(0, 1, 170)
    return (members.round(1), nonmembers.round(1)) if ties else (members, nonmembers)


@pytest.mark.parametrize("ties", [False, True])
def test_the_curve_is_scikit_learns(ties: bool) -> None:
    members, nonmembers = scores(ties)
    truth = np.repeat([1, 0], [len(members), len(nonmembers)])
    both = np.concatenate([members, nonmembers])
    wrong, found, _ = roc_curve(truth, both, drop_intermediate=False)
    said = told_apart(members, nonmembers)
    assert said["advantage"] == pytest.approx((found - wrong).max(), abs=1e-12)
    assert said["auc"] == pytest.approx(roc_auc_score(truth, both), abs=1e-12)
    assert said["tpr_at_1_percent_fpr"] == pytest.approx(found[wrong <= 0.01].max(), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_the_loss_attack_is_the_best_threshold_counted_one_by_one(ties: bool) -> None:
    nonmembers, members = scores(ties)  # members have the smaller losses
    best = 0.0
    for threshold in (*members, *nonmembers):
        found = sum(loss <= threshold for loss in members) / len(members)
        wrong = sum(loss <= threshold for loss in nonmembers) / len(nonmembers)
        best = max(best, found - wrong)
    assert loss_threshold(members, nonmembers)["advantage"] == pytest.approx(best, abs=1e-12)


def test_what_is_alike_is_not_told_apart_and_what_is_apart_is() -> None:
    alike = np.arange(200.0)
    assert told_apart(alike, alike) == pytest.approx({"advantage": 0, "auc": 0.5, "tpr_at_1_percent_fpr": 0.01})
    assert set(told_apart(alike + 200, alike).values()) == {1.0}
    # an attack that is wrong throughout is no better than to call nobody a member
    assert told_apart(alike - 200, alike)["advantage"] == 0


def test_by_chance_the_advantage_is_what_the_docs_say() -> None:
    rng = np.random.default_rng(0)
    found = [told_apart(rng.normal(size=400), rng.normal(size=400))["advantage"] for _ in range(300)]
    expected = 0.63 * np.sqrt(2 / 400)  # 0.0445; at n=400 the limit is met to some per cent
    assert np.mean(found) == pytest.approx(expected, rel=0.1)


def drawn(count: int, means: np.ndarray, deviation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % len(means)  # in turns, and not sorted
    return rng.normal(means[classes], deviation), classes


def test_ratios_come_near_those_of_the_true_gaussians() -> None:
    inside, outside = np.array([2.0, -1.0]), np.array([0.0, -3.0])
    members, theirs = drawn(20_000, inside, 1.5, 0)
    nonmembers, others = drawn(20_000, outside, 1.0, 1)
    found = likelihood_ratios(members, theirs, nonmembers, others)
    for ratio, values, classes in zip(found, (members, nonmembers), (theirs, others), strict=True):
        expected = norm.logpdf(values, inside[classes], 1.5) - norm.logpdf(values, outside[classes], 1.0)
        assert np.abs(ratio - expected).mean() < 0.05 * np.abs(expected).mean()
    # one threshold for both classes cannot do what knowing the class can
    assert told_apart(*found)["advantage"] > told_apart(members, nonmembers)["advantage"] + 0.1


def test_a_ratio_never_depends_on_the_sample_that_it_judges() -> None:
    members, theirs = drawn(40, np.array([1.0, 2.0, 3.0]), 1.0, 0)
    nonmembers, others = drawn(40, np.array([0.0, 1.0, 2.0]), 1.0, 1)
    before, beside = likelihood_ratios(members, theirs, nonmembers, others)
    changed = members.copy()
    changed[7] += 5
    after, _ = likelihood_ratios(changed, theirs, nonmembers, others)
    same = np.isclose(before, after, rtol=0, atol=1e-12)
    # those of its own half are judged by the other, and stay; those judged by its half do not
    assert not same[7]
    half = same.copy()
    half[7] = True
    assert half.sum() == 20
    assert len(beside) == 40


def test_two_samples_of_unlike_classes_are_enough() -> None:
    found = likelihood_ratios(np.array([1.0, 2.0]), np.array([0, 1]), np.array([0.0, 0.0]), np.array([2, 2]))
    assert all(np.isfinite(ratio).all() for ratio in found)


TINY = [
    *("source=digits", "target=digits", "target.labels=6", "batch_size=32", "trainer.max_epochs=2"),
    *("trainer.accelerator=cpu", "backbone=mlp", "backbone.widths=[32]", "backbone.input.shape=[1,8,8]"),
    *("source.pretrain.target.labels=8", "source.pretrain.max_epochs=20", "source.pretrain.optimizer.lr=0.01"),
    "tracker=none",
]


def train(runs: Path, study: str, *words: str) -> dict:
    assert cli.main(["train", *TINY, *words, f"study={study}", f"paths.runs={runs}"]) == 0
    (file,) = (runs / study).glob("*/run.json")
    return json.loads(file.read_text())


def test_a_run_says_what_its_source_gives_away(tmp_path: Path) -> None:
    probed = train(tmp_path, "probe", "strategy=linear_probe", "diagnostics.privacy=true")["privacy"]
    # a frozen backbone is the source's
    assert probed["before"] == probed["after"]
    full = train(tmp_path, "full", "strategy=full_finetune", "diagnostics.privacy=true", "optimizer.lr=0.1")["privacy"]
    assert full["before"] == probed["before"] != full["after"]

    # the same by hand: the source's own weights, the samples that its own run trained on, those of its test split
    (source,) = (tmp_path / "pretraining").glob("*/run.json")
    config = OmegaConf.create(json.loads(source.read_text())["config"])
    parts = instantiate(config.target, _convert_="all").parts(config.seed)
    state = torch.load(source.parent / "selected.pt", weights_only=True)
    spec = config.backbone.input

    def losses(samples, positions) -> torch.Tensor:
        x, y = samples[positions]
        x = x.float().flatten(1)
        x = (x / (255 if samples[[0]][0].dtype == torch.uint8 else 1) - spec.mean[0]) / spec.std[0]
        layer = [state[name] for name in state if name.startswith("backbone.")]
        hidden = torch.relu(x @ layer[0].T + layer[1])
        head = [state[name] for name in state if name.startswith("head.")]
        return cross_entropy(hidden @ head[0].T + head[1], y, reduction="none")

    count = full["samples"]
    assert count == json.loads(source.read_text())["data"]["sizes"]["train"] < len(parts.test)
    spaced = [np.linspace(0, len(part) - 1, count).round().astype(int).tolist() for part in (parts.train, parts.test)]
    trained, others = losses(parts.train, spaced[0]).numpy(), losses(parts.test, spaced[1]).numpy()
    wrong, found, _ = roc_curve(np.repeat([1, 0], count), -np.concatenate([trained, others]), drop_intermediate=False)
    assert full["before"]["loss_threshold"]["advantage"] == pytest.approx((found - wrong).max(), abs=1e-9)
    assert full["before"]["loss_threshold"]["advantage"] > 0.63 * np.sqrt(2 / count)


def test_privacy_is_asked_for_and_needs_a_source_pretrained_here(tmp_path: Path) -> None:
    assert train(tmp_path, "silent", "strategy=linear_probe")["privacy"] is None
    assert train(tmp_path, "scratch", "strategy=scratch", "diagnostics.privacy=true")["privacy"] is None
    few = train(tmp_path, "few", "strategy=linear_probe", "diagnostics.privacy=true", "diagnostics.privacy_samples=9")
    assert few["privacy"]["samples"] == 9


def test_too_few_samples_are_a_sentence(tmp_path: Path, capsys) -> None:
    words = ["train", *TINY, "diagnostics.privacy_samples=1", f"paths.runs={tmp_path}"]
    assert cli.main(words) == 1
    assert "diagnostics.privacy_samples=1: at least 2 samples" in capsys.readouterr().err
