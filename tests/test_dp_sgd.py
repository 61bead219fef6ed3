"""DP-SGD against gradients taken one sample at a time, and what it promises of real runs."""

import json
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from opacus.grad_sample.grad_sample_module import GradSampleHooks
from torch import nn
from torch.nn.functional import cross_entropy

from transferlab import cli, stepping
from transferlab.dp_sgd import DPSGD, epsilon, private_mean
from transferlab.errors import InputError
from transferlab.module import TransferModule


def nets() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    return net, 3 * torch.randn(12, 5, dtype=torch.float64), torch.randint(0, 3, (12,))


def naive(net: nn.Module, x: torch.Tensor, y: torch.Tensor, most: float) -> list[torch.Tensor]:
    """The sum of clipped gradients, by one backward pass a sample."""
    sums = [torch.zeros_like(one) for one in net.parameters()]
    for i in range(len(x)):
        gradients = torch.autograd.grad(cross_entropy(net(x[i : i + 1]), y[i : i + 1]), list(net.parameters()))
        norm = sum(float((one**2).sum()) for one in gradients) ** 0.5
        for total, one in zip(sums, gradients, strict=True):
            total += one * min(1.0, most / norm)
    return sums


def test_a_step_is_the_clipped_gradients_of_a_loop_and_noise() -> None:
    net, x, y = nets()
    most, multiplier, rate = 0.8, 0.7, 0.1
    sums = naive(net, x, y, most)
    # some are clipped and some are not
    whole = naive(net, x, y, 1e9)
    assert all(not torch.allclose(one, other) for one, other in zip(sums, whole, strict=True))
    before = [one.detach().clone() for one in net.parameters()]
    hooks = GradSampleHooks(net)
    hooks.disable_hooks()
    optimizer = DPSGD(net.parameters(), rate, 0.0, multiplier, most, 1e-5, hooks)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(net(x), y)
        loss.backward()
        return loss

    torch.manual_seed(1)
    optimizer.step(closure)
    torch.manual_seed(1)
    for after, start, total in zip(net.parameters(), before, sums, strict=True):
        noise = multiplier * most * torch.randn(total.shape, dtype=torch.float64)
        torch.testing.assert_close(after.detach(), start - rate * (total + noise) / len(x), rtol=1e-12, atol=1e-13)


def test_no_sample_moves_the_mean_by_more_than_its_clipped_share() -> None:
    draws = torch.Generator().manual_seed(0)
    gradients = [torch.randn(8, 3, 2, generator=draws), torch.randn(8, generator=draws)]
    changed = [one.clone() for one in gradients]
    for one in changed:
        one[5] = 1e6
    found, other = (private_mean(of, 0.5, 0.0) for of in (gradients, changed))
    moved = sum(float(((a - b) ** 2).sum()) for a, b in zip(found, other, strict=True)) ** 0.5
    assert 0 < moved <= 2 * 0.5 / 8 + 1e-6
    nothing = private_mean([torch.zeros(4, 2)], 1.0, 0.0)[0]
    assert torch.equal(nothing, torch.zeros(2))


def test_noise_has_the_deviation_that_is_asked_for() -> None:
    torch.manual_seed(0)
    (found,) = private_mean([torch.zeros(10, 40_000)], 2.0, 1.5)
    assert float(found.std()) == pytest.approx(1.5 * 2.0 / 10, rel=0.02)


def test_without_sampling_epsilon_is_that_of_composed_gaussians() -> None:
    """Rényi divergence T alpha / (2 sigma^2), turned into epsilon by Balle et al. 2020, theorem 21."""
    sigma, steps, delta = 5.0, 10, 1e-5
    orders = np.linspace(1.01, 60, 20_000)
    by_order = (
        steps * orders / (2 * sigma**2) - (log(delta) + np.log(orders)) / (orders - 1) + np.log((orders - 1) / orders)
    )
    assert epsilon(sigma, 1.0, steps, delta) == pytest.approx(by_order.min(), rel=1e-3)


def test_epsilon_grows_with_steps_and_batches_and_falls_with_noise() -> None:
    base = epsilon(1.0, 0.05, 100, 1e-5)
    assert epsilon(1.0, 0.05, 200, 1e-5) > base
    assert epsilon(1.0, 0.1, 100, 1e-5) > base
    assert epsilon(2.0, 0.05, 100, 1e-5) < base
    assert epsilon(1.0, 0.05, 100, 1e-3) < base


COMMON = ["trainer.max_epochs=3", "trainer.accelerator=cpu", "backbone.input.shape=[1,8,8]", "tracker=none"]
MLP = ["backbone=mlp", "backbone.widths=[16]"]
TARGET = ["source=none", "target=digits", "target.labels=12", "batch_size=16", "strategy=scratch", *COMMON]
TARGET += ["optimizer=dp_sgd", "optimizer.momentum=0.9"]


def train(runs: Path, study: str, *words: str) -> int:
    return cli.main(["train", *words, f"study={study}", f"paths.runs={runs}"])


def outcome(runs: Path, study: str) -> tuple[dict, dict]:
    (file,) = (runs / study).glob("*/run.json")
    return json.loads(file.read_text()), torch.load(file.parent / "last.pt", weights_only=True)


def test_a_source_is_pretrained_with_it_and_its_record_says_what_it_cost(tmp_path: Path) -> None:
    words = ["source=digits", "optimizer@source.pretrain.optimizer=dp_sgd", "source.pretrain.max_epochs=2"]
    words += ["source.pretrain.target.labels=20", "source.pretrain.batch_size=32", "target=digits", "target.labels=5"]
    assert train(tmp_path, "probe", *words, *COMMON, *MLP, "strategy=linear_probe") == 0
    (file,) = (tmp_path / "pretraining").glob("*/run.json")
    source = json.loads(file.read_text())
    said, count = source["data"]["privacy_epsilon"], source["data"]["sizes"]["train"]
    assert said["steps"] == 2 * -(-count // 32)
    assert said["sample_rate"] == pytest.approx(32 / count)
    assert said["epsilon"] == epsilon(1.0, 32 / count, said["steps"], 1e-5) > 0
    assert (said["accountant"], said["delta"]) == ("rdp", 1e-5)
    assert "privacy_epsilon" not in outcome(tmp_path, "probe")[0]["data"]


def test_the_middle_of_an_epoch_and_lightning_take_the_same_steps(tmp_path: Path, monkeypatch) -> None:
    assert train(tmp_path, "quick", *TARGET, *MLP) == 0
    monkeypatch.setattr(stepping, "plain", lambda trainer: False)
    assert train(tmp_path, "lightning", *TARGET, *MLP) == 0
    (quick, ours), (slow, theirs) = (outcome(tmp_path, study) for study in ("quick", "lightning"))
    assert quick["history"] == slow["history"]
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert quick["data"]["privacy_epsilon"] == slow["data"]["privacy_epsilon"]


def test_a_run_that_was_interrupted_ends_with_the_same_weights_and_epsilon(tmp_path: Path, monkeypatch) -> None:
    assert train(tmp_path, "whole", *TARGET, *MLP) == 0
    step = TransferModule.training_step

    def stopped(module: TransferModule, batch: dict, batch_idx: int) -> torch.Tensor:
        if module.global_step == 10:  # in the second of three epochs
            raise KeyboardInterrupt
        return step(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TransferModule, "training_step", stopped)
        assert train(tmp_path, "stopped", *TARGET, *MLP) != 0
    assert outcome_of_steps(tmp_path, "stopped") < outcome_of_steps(tmp_path, "whole")
    assert train(tmp_path, "stopped", *TARGET, *MLP) == 0
    (whole, ours), (stopped_once, theirs) = (outcome(tmp_path, study) for study in ("whole", "stopped"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert whole["data"]["privacy_epsilon"] == stopped_once["data"]["privacy_epsilon"]


def outcome_of_steps(runs: Path, study: str) -> int:
    (file,) = (runs / study).glob("*/run.json")
    return json.loads(file.read_text())["data"]["privacy_epsilon"]["steps"]


def test_a_frozen_backbone_with_batchnorm_is_no_obstacle(tmp_path: Path) -> None:
    words = ["source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10", *TARGET[1:]]
    words += ["strategy=linear_probe", "backbone.widths=[4]", "diagnostics.saliency.samples=[0]"]
    assert train(tmp_path, "frozen", *words) == 0
    assert outcome(tmp_path, "frozen")[0]["data"]["privacy_epsilon"]["epsilon"] > 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["backbone.widths=[4]"], "backbone.net.block1.1 is a BatchNorm2d, which mixes the samples of a batch; choose"),
        ([*MLP, "source=digits", "strategy=l2_sp"], "the strategy has transfer losses"),
        (
            [*MLP, "source=digits", "strategy=lp_ft", "strategy.freezing.probe_epochs=1"],
            "the strategy trains other stages in other epochs",
        ),
        ([*MLP, "augmentation=mixup"], "augmentation mixes samples"),
        ([*MLP, "trainer.accumulate_grad_batches=2"], "optimizer=dp_sgd takes plain steps"),
        ([*MLP, "trainer.precision=bf16-mixed"], "optimizer=dp_sgd takes plain steps"),
        ([*MLP, "optimizer.noise_multiplier=0"], "optimizer.noise_multiplier=0: a number above 0"),
        ([*MLP, "optimizer.delta=1"], "optimizer.delta=1: a probability in (0, 1)"),
    ],
)
def test_what_it_cannot_promise_is_refused_before_anything_trains(words, sentence, tmp_path, capsys) -> None:
    assert train(tmp_path, "wrong", *TARGET, *words) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "pretraining").exists()


class Scaled(nn.Module):
    """A net that is not called itself, with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.ones(2))


def test_a_parameter_of_which_there_is_no_gradient_of_each_sample_is_named() -> None:
    net = Scaled()
    hooks = GradSampleHooks(net)
    optimizer = DPSGD(net.parameters(), 0.1, 0.0, 1.0, 1.0, 1e-5, hooks)

    def closure() -> None:
        (net.layer(torch.ones(4, 3)) * net.scale).sum().backward()

    with pytest.raises(InputError, match="of scale Opacus gives no gradient of each sample"):
        optimizer.step(closure)


class Noisy(nn.Module):
    """A layer that is not Opacus's own, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x * self.scale)


def test_a_layer_that_opacus_cannot_follow_is_a_sentence_and_an_error_of_ours_stays_itself() -> None:
    x = torch.ones(4, 3)
    for net, call in ((Noisy(), lambda net: net(x)), (nn.Linear(3, 2), lambda net: net(input=x))):
        optimizer = DPSGD(net.parameters(), 0.1, 0.0, 1.0, 1.0, 1e-5, GradSampleHooks(net))
        with pytest.raises(InputError, match="Opacus cannot follow a layer"):
            optimizer.step(lambda net=net, call=call: call(net).sum().backward())
        with pytest.raises(ZeroDivisionError):
            optimizer.step(lambda: 1 / 0)


def test_an_error_in_the_first_step_is_told_by_the_run(tmp_path, monkeypatch, capsys) -> None:
    def refused(optimizer: DPSGD, parameters: list[nn.Parameter]) -> None:
        raise InputError("there is no gradient of each sample")

    monkeypatch.setattr(DPSGD, "_taken", refused)
    assert train(tmp_path, "wrong", *TARGET, *MLP) == 1
    assert "there is no gradient of each sample" in capsys.readouterr().err
