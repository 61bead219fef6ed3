import json

import numpy as np
import pytest
import torch
from drawn_shapes import CLASSES, shapes
from torch import nn
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models.detection import FCOS

from transferlab import cli
from transferlab.backbones.small import convnet
from transferlab.backbones.torchvision import resnet
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.tasks import detection
from transferlab.tasks.base import observe
from transferlab.tasks.detection import Detection

INPUT = ArrayInput.of(3, 64, 64)
NONE = [-1.0, 0.0, 0.0, 0.0, 0.0]


def task(reads=None, channels=64, convolutions=1, score=0.05, overlap=0.6, most=100):
    return Detection(reads, channels, convolutions, score, overlap, most, "map")


def small_backbone(widths=(8, 16, 16)):
    backbone = convnet(INPUT, widths)
    backbone.cut()
    return backbone


def boxes(count, most=3, seed=0):
    """(count, most, 5), the last row of each image filled up."""
    rng = np.random.default_rng(seed)
    low, wide = rng.uniform(0, 0.5, (count, most, 2)), rng.uniform(0.2, 0.5, (count, most, 2))
    y = np.concatenate([rng.integers(0, 2, (count, most, 1)), low, low + wide], 2)
    y[:, -1] = NONE
    return torch.tensor(y, dtype=torch.float32)


@pytest.fixture(scope="module")
def net():
    """A resnet18 without its tail and the head on it, with telling numbers, in evaluation mode."""
    torch.manual_seed(0)
    backbone = resnet(INPUT, "resnet18")
    backbone.cut()
    head = task(score=0.01).build_head(backbone, 2, INPUT.example(2))
    for parameter in head.detector.head.parameters():
        nn.init.normal_(parameter, std=0.05)
    return backbone.eval(), head.eval()


class Whole(nn.Module):
    """Backbone and pyramid in the shape that torchvision's FCOS wants."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head, self.out_channels = backbone, head, 64

    def forward(self, x):
        kept = self.backbone.observe(x, self.head.reads)[1]
        return {str(i): one for i, one in enumerate(self.head.detector.backbone([kept[s] for s in self.head.reads]))}


def library(backbone, head):
    """Torchvision's own detector with the same weights, its resizing and normalising without effect."""
    return FCOS(
        Whole(backbone, head),
        2,
        min_size=64,
        max_size=64,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        anchor_generator=head.detector.anchor_generator,
        head=head.detector.head,
        score_thresh=0.01,
    )


def test_the_loss_is_torchvisions_fcoss(net):
    backbone, head = net
    x, y = torch.rand(4, 3, 64, 64), boxes(4)
    targets = [{"boxes": row[:-1, 1:] * 64, "labels": row[:-1, 0].long()} for row in y]
    fcos = library(backbone, head).train()
    backbone.eval()
    expected = sum(fcos(list(x), targets).values())
    head.eval()
    torch.testing.assert_close(task().loss(observe(backbone, head, x)[2], y), expected)


def test_detections_are_torchvisions_fcoss(net):
    backbone, head = net
    x, y = torch.rand(2, 3, 64, 64), boxes(2)
    expected = library(backbone, head).eval()(list(x))
    found, true = task().scored(observe(backbone, head, x)[2], y)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(theirs["boxes"]) > 5
        for key in ("boxes", "scores", "labels"):
            torch.testing.assert_close(ours[key], theirs[key])
    torch.testing.assert_close(true[0]["boxes"], y[0, :2, 1:] * 64)
    assert true[0]["labels"].tolist() == y[0, :2, 0].tolist()


def test_rows_that_fill_up_change_nothing(net):
    backbone, head = net
    outputs = observe(backbone, head, torch.rand(3, 3, 64, 64))[2]
    y = boxes(3)
    longer = torch.cat([y[:, :1], torch.tensor(NONE).repeat(3, 2, 1), y[:, 1:]], 1)
    torch.testing.assert_close(task().loss(outputs, longer), task().loss(outputs, y), rtol=0, atol=0)


def test_an_image_without_objects_trains_the_classes_alone(net):
    backbone, head = net
    outputs = observe(backbone, head, torch.rand(2, 3, 64, 64))[2]
    terms = outputs.losses(torch.tensor(NONE).repeat(2, 1, 1))
    assert terms["classification"] > 0
    assert terms["bbox_regression"] == terms["bbox_ctrness"] == 0


def test_a_backbone_learns_from_every_term(net):
    backbone, head = net
    terms = observe(backbone, head, torch.rand(4, 3, 64, 64))[2].losses(boxes(4))
    weight = backbone.net.conv1.weight
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, weight, retain_graph=True)
        assert gradient.isfinite().all(), name
        assert gradient.abs().sum() > 0, name


def test_the_pyramid_stands_on_the_last_map_of_each_of_the_three_coarsest_resolutions(net):
    assert net[1].reads == ("layer2", "layer3", "layer4")
    assert task().build_head(small_backbone(), 2, INPUT.example(2)).reads == ("block1", "block2", "block3")
    assert task().build_head(small_backbone((8, 16)), 2, INPUT.example(2)).reads == ("block1", "block2")
    assert task(["block1", "block3"]).build_head(small_backbone(), 2, INPUT.example(2)).reads == ("block1", "block3")


def test_points_are_as_many_as_the_maps_have_and_the_image_is_the_inputs(net):
    backbone, head = net
    found = observe(backbone, head, torch.rand(1, 3, 96, 64))[2]
    assert found.points == [12 * 8, 6 * 4, 3 * 2]
    assert found.size == (96, 64)
    assert found.anchors.shape == (sum(found.points), 4)


def pair(*shifts):
    """A box of 10 x 10 in each image, and a detection of it moved to the right by so much."""
    true = [{"boxes": torch.tensor([[20.0, 20, 30, 30]]), "labels": torch.tensor([0])} for _ in shifts]
    found = [
        {"boxes": torch.tensor([[20.0 + by, 20, 30 + by, 30]]), "scores": torch.tensor([0.9]), "labels": one["labels"]}
        for one, by in zip(true, shifts, strict=True)
    ]
    return found, true


def test_the_metrics_are_cocos():
    metrics = task().metrics(2)
    # IoU 1, 8 / 12 and 0: of three boxes two are found at .5, one at .75
    found, true = pair(0, 2, 15)
    metrics.update(found[:1], true[:1])
    metrics.update(found[1:], true[1:])
    library = MeanAveragePrecision(backend="faster_coco_eval")
    library.update(found, true)
    expected = library.compute()
    scores = metrics.compute()
    assert {name: score.item() for name, score in scores.items()} == pytest.approx(
        {name: expected[name].item() for name in ("map", "map_50", "map_75")}
    )
    assert 1 > scores["map_50"] > scores["map_75"] > 0


def test_metrics_are_one_for_what_is_right_and_zero_for_nothing():
    metrics = task().metrics(2)
    metrics.update(*pair(0, 0))
    assert all(score == 1 for score in metrics.compute().values())
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    for true in (pair(0)[1][0], nothing):
        metrics.reset()
        metrics.update([{**nothing, "scores": torch.zeros(0)}], [true])
        assert all(score == 0 for score in metrics.compute().values())


def test_the_report_has_each_classes_boxes_and_average_precision(net):
    backbone, head = net
    x, y = torch.rand(5, 3, 64, 64), boxes(5)
    y[..., 0] = y[..., 0].clamp_max(0)  # of the second class there is no box
    outputs = observe(backbone, head, x)[2]
    with torch.no_grad():
        said = task().report(*task().kept(outputs, y), 2)
    metric = MeanAveragePrecision(class_metrics=True, backend="faster_coco_eval")
    metric.update(*task().scored(outputs, y))
    expected = dict(zip(*(metric.compute()[key].tolist() for key in ("classes", "map_per_class")), strict=True))
    assert said["classes"]["boxes"] == [10, 0]
    assert said["classes"]["map"][0] == pytest.approx(expected[0], abs=1e-6)
    assert np.isnan(said["classes"]["map"][1])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"channels": 32}, r"task\.channels=32: a multiple of 32 from 64 on"),
        ({"channels": 80}, r"task\.channels=80"),
        ({"convolutions": -1}, r"task\.convolutions=-1"),
        ({"most": 0}, r"task\.most=0"),
        ({"score": 1.0}, r"task\.score=1\.0"),
        ({"overlap": 0.0}, r"task\.overlap=0\.0"),
    ],
)
def test_numbers_that_cannot_be_are_refused(wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        task(**wrong)


def test_stages_from_coarse_to_fine_are_refused():
    with pytest.raises(InputError, match=r"from fine to coarse maps, these have strides \[8, 2\]"):
        task(["block3", "block1"]).build_head(small_backbone(), 2, INPUT.example(2))
    with pytest.raises(InputError, match="at least one class"):
        task().build_head(small_backbone(), 0, INPUT.example(2))


def test_labels_that_are_no_boxes_are_refused():
    for y in (torch.zeros(4, dtype=torch.long), torch.zeros(4, 8, 8, dtype=torch.long), torch.zeros(4, 5)):
        with pytest.raises(InputError, match="takes boxes around objects"):
            task().fit(y, 2)


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(detection, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'transferlab\[detection\]'"):
        task()


def saved(path, train, test, size=32):
    x, _, y = shapes(train, size, seed=len(path.name))
    x_test, _, y_test = shapes(test, size, seed=99)
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test, classes=np.array(CLASSES))
    return path


def trained(folder, *words):
    """Run the command; the records of its study."""
    common = [
        "task=detection",
        "task.channels=64",
        "task.convolutions=1",
        "target=box_arrays",
        "backbone=convnet",
        "backbone.input.shape=[3,32,32]",
        "backbone.input.mean=null",
        "backbone.input.std=null",
        "optimizer=adam",
        "trainer.accelerator=cpu",
        "tracker=none",
        f"paths.runs={folder / 'runs'}",
    ]
    assert cli.main(["train", *common, *words]) == 0
    return [json.loads(file.read_text()) for file in sorted((folder / "runs" / "default").glob("*/run.json"))]


@pytest.mark.slow
def test_training_finds_most_shapes(tmp_path):
    path = saved(tmp_path / "set.npz", 160, 60)
    words = ["source=none", "strategy=scratch", "batch_size=16", "trainer.max_epochs=10", "backbone.widths=[16,32]"]
    (record,) = trained(tmp_path, f"target.data.path={path}", *words, "optimizer.lr=0.003")
    # a net that knows nothing finds next to nothing: its first epoch says so
    assert record["history"][0]["val/map_50"] < 0.2
    assert record["metrics"]["selected"]["test/map_50"] > 0.5
    assert record["data"]["classes"] == CLASSES


@pytest.mark.slow
def test_the_strategies_train_what_they_say(tmp_path):
    source, target = saved(tmp_path / "source.npz", 12, 6), saved(tmp_path / "target.npz", 12, 6)
    words = [
        "source=box_arrays",
        f"source.pretrain.target.data.path={source}",
        "source.pretrain.max_epochs=1",
        "source.pretrain.task.channels=64",
        f"target.data.path={target}",
        "backbone.widths=[4,8]",
        "batch_size=4",
        "trainer.max_epochs=3",
        "diagnostics.share=1",
        "oracle=true",
    ]
    trains = {
        "full_finetune": ["block1", "block2", "head"],
        "linear_probe": ["head"],
        "gradual_unfreezing": ["block2", "head"],
        "top_k": ["block2", "head"],
        "l2_sp": ["block1", "block2", "head"],
        "joint": ["block1", "block2", "head"],
        "partial": ["block1", "block2", "head"],
    }
    records = trained(tmp_path, *words, f"strategy={','.join(trains)}", "-m")
    found = {record["config"]["axes"]["strategy"]: record for record in records}
    for strategy, stages in trains.items():
        assert found[strategy]["status"] == "finished"
        assert found[strategy]["history"][-1]["trainable"] == stages, strategy
        assert 0 <= found[strategy]["metrics"]["oracle"]["test/map"] <= 1
    drift = found["linear_probe"]["history"][-1]
    assert drift["diagnostics/drift/block1"] == 0 < drift["diagnostics/drift/head"]
