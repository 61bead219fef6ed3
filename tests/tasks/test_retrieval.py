import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from transferlab import cli
from transferlab.backbones.small import mlp
from transferlab.directions import is_share
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.tasks.retrieval import Matched, Projections, Recall, Retrieval, info_nce, merged, ranks


def unit(count, seed, dimensions=6):
    return F.normalize(torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)))


def matched(image, text):
    return Matched(image, text, torch.tensor(10.0))


def task(**changes):
    settings = {"dimensions": 6, "temperature": 0.07, "positives": "pair", "repeated": "image", "metric": "recall_1"}
    return Retrieval(**{**settings, **changes})


def test_the_loss_is_figure_3_of_clip():
    image, text = unit(5, 0), unit(5, 1)
    logits = 10 * image @ text.T
    labels = torch.arange(5)
    expected = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    torch.testing.assert_close(task().loss(matched(image, text), labels), expected)
    # with a partner each both ways of counting are one
    torch.testing.assert_close(task(positives="label").loss(matched(image, text), labels), expected)


def test_with_several_partners_each_is_worth_the_same_share():
    scores, y = 3 * unit(4, 0) @ unit(4, 1).T, torch.tensor([0, 1, 0, 2])
    same = y[:, None] == y
    expected = 0.0
    for side in (scores, scores.T):
        for row in range(4):
            partners = [other for other in range(4) if y[other] == y[row]]
            log_sum = torch.logsumexp(side[row], 0)
            expected += sum(float(log_sum - side[row, other]) for other in partners) / len(partners) / 8
    assert info_nce(scores, same).item() == pytest.approx(expected, rel=1e-6)


def test_only_a_loss_by_label_rewards_other_samples_of_the_same_label():
    text = unit(4, 1)
    y = torch.tensor([0, 0, 1, 1])
    swapped = text[[1, 0, 3, 2]]  # each image beside the text of its label's other sample
    by_pair, by_label = task(), task(positives="label")
    assert by_pair.loss(matched(swapped, text), y) > by_pair.loss(matched(text, text), y) + 1
    torch.testing.assert_close(by_label.loss(matched(swapped, text), y), by_label.loss(matched(text, text), y))


def naive_rank(query, label, items, labels):
    order = sorted(range(len(items)), key=lambda i: -float(query @ items[i]))
    return next(place for place, item in enumerate(order, 1) if labels[item] == label)


def test_recall_of_texts_is_the_share_of_images_with_a_caption_of_theirs_among_the_first(monkeypatch):
    monkeypatch.setattr("transferlab.tasks.retrieval._CHUNK", 4)
    images, y = unit(7, 0), torch.arange(7).repeat_interleave(3)
    text = F.normalize(images.repeat_interleave(3, 0) + 0.8 * unit(21, 1))
    for rank in (1, 2, 5):
        metric = Recall(rank, ["text"], "image")
        for part in torch.arange(21).split(8):  # as batches come
            metric.update(matched(images[y[part]], text[part]), y[part])
        places = [naive_rank(images[i], i, text, y.tolist()) for i in range(7)]
        assert metric.compute().item() == pytest.approx(np.mean([place <= rank for place in places]))


def test_recall_of_images_counts_an_image_with_several_captions_once():
    images, y = unit(7, 0), torch.arange(7).repeat_interleave(3)
    text = F.normalize(images.repeat_interleave(3, 0) + 1.2 * unit(21, 1))
    metric = Recall(2, ["image"], "image")
    metric.update(matched(images[y], text), y)
    places = [naive_rank(text[i], y[i].item(), images, range(7)) for i in range(21)]
    assert 0 < metric.compute().item() < 1
    assert metric.compute().item() == pytest.approx(np.mean([place <= 2 for place in places]))


def test_recall_of_prompts_is_the_accuracy_of_the_nearest_class():
    prompts, y = unit(3, 0), torch.tensor([0, 2, 1, 1, 0, 2, 2, 0])
    image = F.normalize(prompts[y] + 2 * unit(8, 1))
    metric = Recall(1, ["text"], "text")
    metric.update(matched(image, prompts[y]), y)
    assert metric.compute().item() == pytest.approx((image @ prompts.T).argmax(1).eq(y).float().mean().item())
    assert 0.3 < metric.compute() < 1


def test_several_prompts_of_a_class_are_one_mean_direction():
    vectors, y = unit(6, 0), torch.tensor([4, 2, 4, 2, 2, 9])
    found, labels = merged(vectors, y)
    assert labels.tolist() == [2, 4, 9]
    torch.testing.assert_close(found[1], F.normalize(vectors[[0, 2]].mean(0), dim=0))
    torch.testing.assert_close(found[2], vectors[5])


def test_a_net_that_has_collapsed_finds_nothing():
    same = torch.ones(4, 3) / 3**0.5
    assert ranks(same, torch.arange(4), same, torch.arange(4)).tolist() == [4, 4, 4, 4]


def test_the_head_projects_each_tower_and_scales_by_the_inverse_temperature():
    head, features = Projections([3, 4], 6, 0.07), torch.randn(2, 7)
    image, text, scale = head(features)
    torch.testing.assert_close(image, F.normalize(features[:, :3] @ head.image.weight.T))
    torch.testing.assert_close(text, F.normalize(features[:, 3:] @ head.text.weight.T))
    assert scale.item() == pytest.approx(1 / 0.07)
    head.log_scale.data.fill_(9)
    assert head(features).scale.item() == 100
    assert "log_scale" in dict(head.named_parameters())


def test_its_metrics_are_shares_and_hold_the_one_it_selects_by():
    names = list(task().metrics(0))
    assert {"recall_1", "text_recall_10", "image_recall_5"} <= set(names)
    assert all(is_share(f"test/{name}") for name in names)
    assert task().metric in names and task().probabilities(None) is None


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: task(positives="all"), "task.positives=all"),
        (lambda: task(repeated="both"), "task.repeated=both"),
        (lambda: task(temperature=0.0), "task.temperature=0.0"),
        (lambda: task().fit(torch.zeros(4, 2), 0), "target=captions"),
        (lambda: task().build_head(mlp(ArrayInput.of(4), [3]), 0, torch.zeros(2, 4)), "choose backbone=two_tower"),
    ],
)
def test_what_does_not_fit_is_said(act, said):
    with pytest.raises(InputError, match=said):
        act()


COLOURS = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200), "white": (240, 240, 240)}


@pytest.mark.slow
def test_two_towers_learn_which_colour_a_caption_speaks_of(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 64), ("test", 4)):
        rows = ["image\ttext"]
        for number in range(count):
            name = list(COLOURS)[number % 4]
            pixels = np.array(COLOURS[name]) + rng.integers(-30, 30, (16, 16, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{split}{number}.png")
            rows += [f"{split}{number}.png\ta {name} square", f"{split}{number}.png\tall of it is {name}"]
        (tmp_path / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    words = [
        *("target=captions", f"target.data.path={tmp_path / 'train.tsv'}", f"target.data.test={tmp_path / 'test.tsv'}"),
        *("source=none", "strategy=scratch", "task=retrieval", "task.dimensions=16", "task.positives=pair"),
        *("backbone=two_tower", "backbone@backbone.image=convnet", "backbone.image.input.shape=[3,16,16]"),
        *("backbone.image.widths=[8,16]", "backbone@backbone.text=lstm", "input@backbone.text.input=words"),
        *("backbone.text.hidden=16", "backbone.text.embedding=8", "optimizer=adam", "trainer.max_epochs=15"),
        *("tracker=none", "trainer.accelerator=cpu", "diagnostics=none", f"paths.runs={tmp_path}/runs"),
        f"paths.cache={tmp_path}/cache",
    ]
    assert cli.main(["train", *words]) == 0
    (file,) = (tmp_path / "runs").glob("*/*/run.json")
    scores = json.loads(file.read_text())["metrics"]["last"]
    assert scores["test/text_recall_1"] == 1  # of eight captions; chance is a quarter
    assert scores["test/image_recall_1"] == 1
