"""The classic examples: each composes, and those that a test can afford do what their card says."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from sklearn.datasets import load_iris
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from transferlab import building, cli, nodes
from transferlab.composing import Composer
from transferlab.data.labels import TEST_SPLIT, hold_out

CLASSICS = Path(__file__).parents[1] / "experiments" / "classics"
AT_HAND = "_at_hand"
# How many runs each is: strategies x other settings x seeds.
JOBS = {
    "vgg16_head": 2 * 3,
    "vgg16_binary": 2 * 3,
    "resnet50_cifar10": 2 * 3,
    "autoencoder": 4 * 3,
    "iris": 2 * 2 * 5,
    "bert_sentiment": 2 * 3,
    "gpt2_classification": 2 * 3,
    "objectives": 5 * 3,
    "spoken_digits": 4 * 3,
    "breast_cancer": 3 * 2 * 5,
}
FILES = {file.stem: file for file in sorted(CLASSICS.glob("*.yaml"))}
SMALL = {name.removesuffix(AT_HAND): name for name in FILES if name.endswith(AT_HAND)}
CPU = ["trainer.accelerator=cpu", "tracker=none", "diagnostics=none"]
STILL = "optimizer.lr=1e-30"  # a step of no size


def composed(name: str, *overrides: str) -> DictConfig:
    with Composer(name, str(CLASSICS)) as composer:
        config = composer.config(overrides)
        HydraConfig.instance().set_config(config)
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def sweep(runs: Path, name: str, *words: str) -> None:
    assert cli.main(["sweep", str(FILES[name]), *CPU, f"paths.runs={runs}", *words]) == 0


def the_run(runs: Path, study: str) -> tuple[dict, Mapping[str, torch.Tensor]]:
    """The record of a study's one run, and the weights that it ended with."""
    (file,) = (runs / study).glob("*/run.json")
    return json.loads(file.read_text()), torch.load(file.with_name("last.pt"), weights_only=True)


def the_source(runs: Path) -> Mapping[str, torch.Tensor]:
    (file,) = (runs / "pretraining").glob("*/selected.pt")
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", FILES)
def test_a_classic_composes_and_has_as_many_runs_as_it_says(name: str, tmp_path: Path) -> None:
    with Composer(name, str(CLASSICS)) as composer:
        plan = composer.check([f"paths.runs={tmp_path}"], multirun=False)
    assert plan.jobs == JOBS[name.removesuffix(AT_HAND)]
    assert plan.study == tmp_path / name
    assert any(o.key_or_group == "strategy" and "scratch" in o.input_line for o in plan.overrides)


def test_every_classic_is_here() -> None:
    assert set(FILES) == set(JOBS) | set(SMALL.values())
    assert set(SMALL) <= set(JOBS)


@pytest.mark.parametrize("name", SMALL)
def test_what_runs_at_hand_keeps_its_classics_recipe(name: str) -> None:
    original, small = (OmegaConf.to_container(composed(which), resolve=True) for which in (name, SMALL[name]))
    for key in ("task", "augmentation", "strategy", "scheduler", "selection", "trainer"):
        assert original[key] == small[key], key
    assert original["optimizer"] | {"lr": 0} == small["optimizer"] | {"lr": 0}


def test_iris_carries_parameters_and_scaler_over(tmp_path: Path) -> None:
    short = ["trainer.max_epochs=1", "source.pretrain.max_epochs=20"]
    sweep(tmp_path, "iris", "strategy=carried_over", "seed=0", STILL, *short)
    record, ours = the_run(tmp_path, "iris")
    theirs = the_source(tmp_path)
    assert ours.keys() == theirs.keys() == {"head.weight", "head.bias"}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)

    # scored by hand: the source's scaler, the source's regression, the target's test rows
    rows, y = load_iris(return_X_y=True)
    kept, held = hold_out(y, 0.3, np.random.default_rng(TEST_SPLIT))
    scaler = StandardScaler().fit(rows[kept[y[kept] < 2]])
    test = held[y[held] > 0]
    logits = scaler.transform(rows[test]) @ ours["head.weight"][0].double().numpy() + ours["head.bias"].item()
    scores = record["metrics"]["last"]
    assert scores["test/accuracy"] == pytest.approx(np.mean((logits > 0) == (y[test] == 2)))
    assert scores["test/auroc"] == pytest.approx(roc_auc_score(y[test] == 2, logits))


def test_an_autoencoder_that_is_carried_over_keeps_its_decoder(tmp_path: Path) -> None:
    short = [
        "source.pretrain.max_epochs=1",
        "source.pretrain.target.labels=5",
        "target.labels=2",
        "backbone.widths=[4]",
    ]
    sweep(tmp_path, "autoencoder", "strategy=carried_over", "trainer.max_epochs=1", "seed=0", STILL, *short)
    _, ours = the_run(tmp_path, "autoencoder")
    theirs = the_source(tmp_path)
    trained = [key for key in theirs if key.endswith((".weight", ".bias"))]
    assert any(key.startswith("head.") for key in trained)
    assert all(torch.equal(ours[key], theirs[key]) for key in trained)


@pytest.mark.parametrize(
    ("name", "net"),
    [("resnet50_cifar10", "resnet50"), pytest.param("vgg16_head", "vgg16", marks=pytest.mark.slow)],
)
def test_of_a_frozen_net_nothing_but_the_head_changes(name: str, net: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    published = torchvision.models.get_model(net).state_dict()
    torch.save(published, tmp_path / "weights.pth")
    rng = np.random.default_rng(0)
    y = np.arange(20) % 10
    x = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    words = ["strategy=linear_probe", "seed=0", "trainer.max_epochs=1", "backbone.input.shape=[3,32,32]"]
    weights = ["source=checkpoint", f"source.weights={tmp_path / 'weights.pth'}"]
    data = ["target=npz", f"target.data.path={tmp_path / 'images.npz'}"]
    sweep(tmp_path / "runs", name, *words, *weights, *data)
    record, ours = the_run(tmp_path / "runs", name)
    assert record["history"][0]["trainable"] == ["head"]
    backbone = {key.removeprefix("backbone.net."): value for key, value in ours.items() if not key.startswith("head.")}
    assert backbone  # BatchNorm's statistics and counters among them
    assert all(torch.equal(value, published[key]) for key, value in backbone.items())
    head = sum(value.numel() for key, value in ours.items() if key.startswith("head."))
    assert record["cost"]["trainable_parameters"] == head > 0


@pytest.fixture(scope="module")
def heads() -> Iterator[dict[str, torch.nn.Module]]:
    """The heads of the nets of ImageNet, as the originals build them."""
    found = {}
    for name in ("vgg16_head", "vgg16_binary", "resnet50_cifar10"):
        config = composed(name)
        task = nodes.build(config.task)
        backbone = building.net(config, task)
        found[name] = task.build_head(backbone, 10, building.inputs(config).example(1))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("vgg16_head", [(512, 1024), (1024, 10)]),
        ("vgg16_binary", [(7 * 7 * 512, 1024), (1024, 1)]),
        ("resnet50_cifar10", [(2048, 10)]),
    ],
)
def test_an_original_has_the_head_of_its_text(heads: dict[str, torch.nn.Module], name: str, shapes: list) -> None:
    layers = [module for module in heads[name].modules() if isinstance(module, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == shapes


@pytest.mark.parametrize("name", ["vgg16_binary", "resnet50_cifar10"])
def test_an_original_without_its_data_says_what_to_do(name: str, tmp_path: Path, capsys) -> None:
    assert (
        cli.main(["sweep", str(FILES[name]), *CPU, "seed=0", f"paths.runs={tmp_path}", f"paths.data={tmp_path}"]) == 1
    )
    said = capsys.readouterr().err.splitlines()[-1]
    assert "target.data.download=true" in said or "target.data.root" in said
