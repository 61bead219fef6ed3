import json

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from torch.nn import functional

from transferlab import cli
from transferlab.backbones.huggingface import text
from transferlab.backbones.recurrent import recurrent
from transferlab.backbones.small import convnet
from transferlab.data.tokens import IGNORED
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.text import TextInput
from transferlab.tasks import heads, resampling
from transferlab.tasks.base import observe
from transferlab.tasks.tokens import TokenClassification
from transferlab.values import Seq

INPUT = TextInput("words", 30, 12)
SMALL = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
CLASSES = 3


def task(head=nn.Linear, class_weights=None):
    return TokenClassification(head, class_weights, "f1")


def bert():
    torch.manual_seed(0)
    backbone = text.encoder(INPUT, "bert", None, SMALL, "mean", "sdpa")
    backbone.cut()
    return backbone.eval()


def draw(seed=0):
    """Logits of four texts of up to six tokens, and labels of which some are missing."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 6, CLASSES, generator=rng)
    y = torch.randint(0, CLASSES, (4, 6), generator=rng)
    return logits, y.masked_fill(torch.rand(4, 6, generator=rng) < 0.4, IGNORED)


def known(logits, y):
    return logits[y != IGNORED], y[y != IGNORED]


def test_the_loss_is_the_cross_entropy_over_labelled_tokens():
    logits, y = draw()
    torch.testing.assert_close(task().loss(logits, y), functional.cross_entropy(*known(logits, y)))


def test_labels_wider_than_the_batch_change_nothing():
    logits, y = draw()
    wide = functional.pad(y, (0, 3), value=IGNORED)
    assert torch.equal(task().loss(logits, wide), task().loss(logits, y))
    assert torch.equal(task().scored(logits, wide)[1], y)
    assert torch.equal(task().kept(logits, wide)[0], task().kept(logits, y)[0])


def test_labels_narrower_than_a_batch_with_marks_are_filled_up():
    logits, y = draw()
    assert task().scored(logits, y[:, :4])[1][:, 4:].unique().tolist() == [IGNORED]


def test_a_batch_without_a_label_costs_nothing():
    logits, y = draw()
    loss = task().loss(logits.requires_grad_(), torch.full_like(y, IGNORED))
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().max() == 0


def test_balanced_weights_let_all_classes_count_alike():
    y = torch.tensor([[0, 0, 0, IGNORED], [0, 1, 2, IGNORED]])
    weighing = task(class_weights="balanced")
    weighing.fit(y, CLASSES)
    logits = torch.randn(2, 4, CLASSES, generator=torch.Generator().manual_seed(0))
    losses = functional.cross_entropy(*known(logits, y), reduction="none")
    by_class = torch.stack([losses[known(logits, y)[1] == label].mean() for label in range(CLASSES)])
    torch.testing.assert_close(weighing.loss(logits, y), by_class.mean())


def test_metrics_are_those_of_scikit_learn_over_labelled_tokens():
    metrics = task().metrics(CLASSES)
    batches = [draw(seed) for seed in range(3)]
    for batch in batches:
        metrics.update(*task().scored(*batch))
    predicted = torch.cat([known(logits, y)[0].argmax(1) for logits, y in batches])
    labels = torch.cat([known(logits, y)[1] for logits, y in batches])
    found = {name: float(value) for name, value in metrics.compute().items()}
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_the_report_has_each_classes_scores_and_intervals_over_texts():
    logits, y = (torch.cat(parts) for parts in zip(*(draw(seed) for seed in range(6)), strict=True))
    kept, counted = task().kept(logits, y)
    said = task().report(kept, counted, CLASSES)
    predicted, labels = known(logits, y)[0].argmax(1), known(logits, y)[1]
    assert said["classes"]["words"] == labels.bincount(minlength=CLASSES).tolist()
    np.testing.assert_allclose(said["classes"]["f1"], f1_score(labels, predicted, average=None))
    right, total = kept[:, 0].sum(1).double().numpy(), counted.double().numpy()
    draws = resampling.drawn(1000, len(y), np.random.default_rng(0))
    expected = np.quantile((draws @ right) / (draws @ total), [0.025, 0.975])
    np.testing.assert_allclose(said["intervals"]["accuracy"], expected, atol=0.03)


@pytest.mark.parametrize("head", [nn.Linear, lambda a, b: heads.cosine(a, b, scale=3.0, learned=False)])
def test_every_token_has_the_outputs_that_the_head_gives_its_features(head):
    backbone = bert()
    built = task(head).build_head(backbone, CLASSES, INPUT.example(2)).eval()
    states, _, outputs = observe(backbone, built, INPUT.example(3))
    assert outputs.shape == (3, 8, CLASSES)
    torch.testing.assert_close(outputs[1, 4], built.head(states.h[1, 4][None])[0])


def test_padding_and_neighbours_in_the_batch_change_no_outputs():
    backbone = bert()
    head = task().build_head(backbone, CLASSES, INPUT.example(2))
    value = INPUT.example(2)
    together = observe(backbone, head, value)[2]
    alone = observe(backbone, head, Seq(value.h[1:, :5], value.mask[1:, :5]))[2]
    torch.testing.assert_close(together[1, :5], alone[0], rtol=0, atol=1e-5)


def test_a_recurrent_net_has_outputs_of_both_directions():
    backbone = recurrent_net()
    backbone.cut()
    head = task().build_head(backbone, CLASSES, INPUT.example(2))
    assert observe(backbone, head, INPUT.example(2))[2].shape == (2, 8, CLASSES)


def recurrent_net():
    return recurrent(INPUT, "lstm", hidden=6, layers=1, bidirectional=True, embedding=5, dropout=0.0, pooling="mean")


def test_a_net_for_images_has_no_tokens():
    backbone = convnet(ArrayInput.of(3, 16, 16), [4, 6])
    backbone.cut()
    with pytest.raises(InputError, match=r"'convnet' gives no features of each token"):
        task().build_head(backbone, CLASSES, torch.rand(2, 3, 16, 16))


@pytest.mark.parametrize(
    ("y", "outputs", "sentence"),
    [
        (torch.zeros(4, dtype=torch.int64), 3, "takes a class for each word, these labels are whole numbers"),
        (torch.zeros(4, 2), 3, "these labels are numbers"),
        (torch.zeros(4, 2, dtype=torch.int64), 0, "choose target=conll"),
        (torch.full((4, 2), IGNORED), 3, "no word of the training split has a label"),
    ],
)
def test_labels_of_another_kind_are_refused(y, outputs, sentence):
    with pytest.raises(InputError, match=sentence):
        task().fit(y, outputs)


def test_one_class_is_too_few():
    with pytest.raises(InputError, match="the words have 1 class"):
        task().build_head(bert(), 1, INPUT.example(2))


@pytest.mark.slow
def test_the_command_learns_tags_that_follow_from_words(tmp_path):
    rng = np.random.default_rng(0)
    tags = {"PER": ["Ann", "Bob", "Cy"], "LOC": ["Rome", "Oslo", "Lima"], "O": ["saw", "went", "to", "in"]}
    for name, sentences in (("train", 100), ("test", 30)):
        drawn = [[rng.choice(list(tags)) for _ in range(rng.integers(2, 9))] for _ in range(sentences)]
        lines = ["\n".join(f"{rng.choice(tags[tag])}\t{tag}" for tag in sentence) for sentence in drawn]
        (tmp_path / name).write_text("\n\n".join(lines))
    words = [
        *("task=token_classification", "target=conll", "source=none", "strategy=full_finetune", "backbone=bert"),
        *(f"target.data.path={tmp_path / 'train'}", f"target.data.test={tmp_path / 'test'}"),
        *("input@backbone.input=words", "backbone.input.buckets=500", "backbone.input.max_length=16"),
        "++backbone.architecture={num_hidden_layers:1,hidden_size:16,num_attention_heads:2,intermediate_size:32}",
        *("optimizer=adam", "optimizer.lr=0.01", "trainer.max_epochs=5", "trainer.accelerator=cpu", "tracker=none"),
        *(f"paths.runs={tmp_path / 'runs'}", f"paths.cache={tmp_path}"),
    ]
    assert cli.main(["train", *words]) == 0
    (file,) = (tmp_path / "runs" / "default").glob("*/run.json")
    record = json.loads(file.read_text())
    assert record["data"]["classes"] == ["LOC", "O", "PER"]
    assert record["metrics"]["selected"]["test/f1"] > 0.95
    assert record["report"]["samples"] == 30
