import json

import numpy as np
import pytest
import torch
from drawn_shapes import CLASSES, shapes
from sklearn.metrics import accuracy_score, jaccard_score, recall_score
from torch.nn import functional
from torchvision.models import resnet18
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation import FCN
from torchvision.models.segmentation.fcn import FCNHead

from transferlab import cli
from transferlab.backbones.small import convnet, mlp
from transferlab.backbones.torchvision import resnet
from transferlab.data.masks import IGNORED
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.tasks import base
from transferlab.tasks.base import observe
from transferlab.tasks.labels import fitted
from transferlab.tasks.pixels import counted, on_pixels
from transferlab.tasks.segmentation import Segmentation, upsampled

INPUT = ArrayInput.of(3, 32, 32)
NAMES = ["ground", *CLASSES]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def masks(*shape, classes=3, ignored=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, shape, generator=generator)
    return y.masked_fill(torch.rand(shape, generator=generator) < ignored, IGNORED)


def small_backbone(widths=(8, 16)):
    backbone = convnet(INPUT, widths)
    backbone.cut()
    return backbone


def task(reads=None, class_weights=None):
    return Segmentation(reads, class_weights, "iou")


def fit(class_weights, y=None):
    return fitted(task(class_weights=class_weights), masks(2, 8, 8) if y is None else y, 3)


def test_on_a_resnets_last_stage_it_is_torchvisions_fcn():
    library = resnet18(weights=None)
    fcn = FCN(IntermediateLayerGetter(library, {"layer4": "out"}), FCNHead(512, 3)).eval()
    backbone = resnet(ArrayInput.of(3, 64, 64), "resnet18").eval()
    backbone.cut()
    head = task().build_head(backbone, 3, torch.rand(2, 3, 64, 64)).eval()
    backbone.net.load_state_dict({k: v for k, v in library.state_dict().items() if not k.startswith("fc.")})
    head.heads[0].load_state_dict(fcn.classifier.state_dict())
    x = drawn(2, 3, 64, 64)
    torch.testing.assert_close(upsampled(observe(backbone, head, x)[2], (64, 64)), fcn(x)["out"])


def test_the_loss_is_the_mean_cross_entropy_of_known_pixels_at_the_masks_resolution():
    outputs, y = drawn(2, 3, 4, 4).double(), masks(2, 16, 16)
    full = functional.interpolate(outputs, (16, 16), mode="bilinear").log_softmax(1)
    total = [
        -full[i, y[i, r, c], r, c] for i in range(2) for r in range(16) for c in range(16) if y[i, r, c] != IGNORED
    ]
    torch.testing.assert_close(task().loss(outputs, y), sum(total) / len(total))


def test_class_weights_are_cross_entropys():
    outputs, y, weights = drawn(2, 3, 8, 8).double(), masks(2, 8, 8), [0.2, 1.0, 3.0]
    expected = functional.cross_entropy(outputs, y, torch.tensor(weights).double(), ignore_index=IGNORED)
    torch.testing.assert_close(fit(weights).loss(outputs, y), expected)


def test_balanced_weights_are_in_inverse_proportion_to_a_classs_known_pixels():
    y = torch.tensor([[[0, 0, 0, 0], [1, 1, 2, IGNORED]]]).expand(3, 2, 4)
    outputs = drawn(3, 3, 2, 4)
    expected = functional.cross_entropy(outputs, y, torch.tensor([0.25, 0.5, 1.0]), ignore_index=IGNORED)
    torch.testing.assert_close(fit("balanced", y).loss(outputs, y), expected)


@pytest.mark.parametrize("weights", [None, [0.2, 1.0, 3.0]])
def test_batches_weighed_by_what_they_count_give_the_loss_of_the_whole(weights):
    outputs, y = drawn(4, 3, 8, 8).double(), masks(4, 8, 8)
    y[0, :6] = IGNORED
    of = fit(weights)
    parts = [(of.loss(outputs[i : i + 1], y[i : i + 1]), base.counted(of, y[i : i + 1])) for i in range(4)]
    mean = sum(loss * weight for loss, weight in parts) / sum(weight for _, weight in parts)
    torch.testing.assert_close(mean, of.loss(outputs, y))


def test_ignored_pixels_have_no_gradient():
    outputs = drawn(1, 3, 8, 8).requires_grad_()
    y = masks(1, 8, 8)
    task().loss(outputs, y).backward()
    assert torch.equal(outputs.grad.abs().sum(1) > 0, y != IGNORED)


def test_without_a_known_pixel_the_loss_is_zero_with_a_zero_gradient():
    outputs = drawn(1, 3, 4, 4).requires_grad_()
    loss = fit([1.0, 2.0, 0.0]).loss(outputs, torch.full((1, 8, 8), IGNORED))
    loss.backward()
    assert loss == 0
    assert (outputs.grad == 0).all()


def test_metrics_are_scikit_learns_over_known_pixels():
    y = masks(6, 16, 16)
    outputs = drawn(6, 3, 16, 16)
    metrics = task().metrics(3)
    for part in (slice(0, 1), slice(1, 6)):
        metrics.update(*task().scored(outputs[part], y[part]))
    known = y != IGNORED
    said, are = outputs.argmax(1)[known], y[known]
    assert {name: score.item() for name, score in metrics.compute().items()} == pytest.approx(
        {
            "iou": jaccard_score(are, said, average="macro"),
            "accuracy": accuracy_score(are, said),
            "class_accuracy": recall_score(are, said, average="macro"),
        }
    )


def test_a_class_that_is_nowhere_does_not_count_for_the_mean_iou():
    y = masks(2, 8, 8, classes=2)
    right = functional.one_hot(y.where(y != IGNORED, 0), 3).movedim(-1, 1).float()
    metrics = task().metrics(3)
    metrics.update(*task().scored(right, y))
    assert metrics.compute()["iou"] == 1


def test_scores_of_several_stages_are_added_at_the_finest_maps_resolution():
    backbone = small_backbone()
    head = task(["block1", "block2"]).build_head(backbone, 3, INPUT.example(2)).eval()
    fine, coarse = drawn(2, 8, 16, 16), drawn(2, 16, 8, 8)
    expected = head.heads[0](fine) + functional.interpolate(head.heads[1](coarse), (16, 16), mode="bilinear")
    torch.testing.assert_close(head([fine, coarse]), expected)
    turned = task(["block2", "block1"]).build_head(backbone, 3, INPUT.example(2)).eval()
    turned.heads[0].load_state_dict(head.heads[1].state_dict())
    turned.heads[1].load_state_dict(head.heads[0].state_dict())
    torch.testing.assert_close(turned([coarse, fine]), expected)


def test_building_a_head_leaves_the_backbone_as_it_was():
    backbone = small_backbone().train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    task().build_head(backbone, 3, INPUT.example(2))
    assert backbone.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_a_head_holds_no_part_of_the_backbone():
    head = task().build_head(small_backbone(), 3, INPUT.example(2))
    assert all(name.startswith("heads.0.") for name in head.state_dict())


@pytest.mark.parametrize(
    ("reads", "widths", "outputs", "sentence"),
    [
        (["block3"], (8, 16), 3, "there is no stage with maps 'block3'.*block1, block2"),
        ([], (8, 16), 3, r"task\.reads=\[\]: at least one stage"),
        (["block1", "block1"], (8, 16), 3, "each once"),
        (None, (8, 2), 3, "stage 'block2' has maps of 2 channels"),
        (None, (8, 16), 1, "needs at least two, background among them"),
    ],
)
def test_a_head_that_cannot_be_is_refused(reads, widths, outputs, sentence):
    with pytest.raises(InputError, match=sentence):
        task(reads).build_head(small_backbone(widths), outputs, INPUT.example(2))


def test_a_net_without_maps_is_refused():
    with pytest.raises(InputError, match="gives no maps"):
        task().build_head(mlp(INPUT, [8]), 3, INPUT.example(2))


def test_weights_below_zero_and_labels_that_are_no_masks_are_refused():
    for weights in ([-1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [], [1.0, 2.0]):
        with pytest.raises(InputError, match="0 or more for each of the 3 classes"):
            fit(weights)
    with pytest.raises(InputError, match="class_weights=even"):
        fit("even")
    with pytest.raises(InputError, match=r"takes a mask for each image, .*whole numbers of the shape \(4,\)"):
        task().fit(torch.zeros(4, dtype=torch.long), 3)


def test_counts_of_pixels_are_those_of_a_loop():
    said, y = masks(3, 6, 5, ignored=0, seed=1), masks(3, 6, 5)
    counts = counted(said, y, 3)
    for image in range(3):
        pairs = [(int(a), int(b)) for a, b in zip(said[image].flatten(), y[image].flatten(), strict=True) if b != 255]
        for label in range(3):
            assert counts[image, :, label].tolist() == [
                sum(a == b == label for a, b in pairs),
                sum(a == label for a, _ in pairs),
                sum(b == label for _, b in pairs),
            ]


def test_the_report_is_of_classes_and_its_intervals_hold_the_metrics():
    y, outputs = masks(30, 8, 8), drawn(30, 4, 8, 8)  # no pixel is of the fourth class
    metrics = task().metrics(4)
    metrics.update(*task().scored(outputs, y))
    kept = [task().kept(outputs[part], y[part]) for part in (slice(0, 7), slice(7, 30))]
    said = task().report(*(torch.cat(parts) for parts in zip(*kept, strict=True)), 4)
    for name, score in metrics.compute().items():
        low, high = said["intervals"][name]
        assert low < score < high
        assert high - low < 0.2
    known = y != IGNORED
    expected = jaccard_score(y[known], outputs.argmax(1)[known], average=None, labels=range(4))
    assert said["classes"]["iou"] == pytest.approx(expected.tolist())
    assert said["classes"]["pixels"] == [*y[known].bincount().tolist(), 0]
    assert np.isnan(said["classes"]["accuracy"][3])


def test_the_reports_metrics_of_all_images_are_torchmetrics():
    y, outputs = masks(5, 8, 8), drawn(5, 4, 8, 8)
    metrics = task().metrics(4)
    metrics.update(*task().scored(outputs, y))
    # with one image alone every draw of the bootstrap is that image
    whole = counted(outputs.argmax(1), y, 4).sum(0, keepdim=True)
    for name, (low, high) in on_pixels(whole)["intervals"].items():
        assert low == pytest.approx(high) == pytest.approx(metrics.compute()[name].item())


def saved(path, train, test, size=32):
    x, y, _ = shapes(train, size, seed=len(path.name))
    x_test, y_test, _ = shapes(test, size, seed=99)
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test, classes=np.array(NAMES))
    return path


def trained(folder, *words, status=0):
    """Run the command; the records of its study."""
    common = [
        "task=segmentation",
        "target=mask_arrays",
        "backbone=convnet",
        "backbone.input.shape=[3,32,32]",
        "backbone.input.mean=null",
        "backbone.input.std=null",
        "optimizer=adam",
        "trainer.accelerator=cpu",
        "tracker=none",
        f"paths.runs={folder / 'runs'}",
    ]
    assert cli.main(["train", *common, *words]) == status
    return [json.loads(file.read_text()) for file in sorted((folder / "runs" / "default").glob("*/run.json"))]


@pytest.mark.slow
def test_training_beats_the_ground_alone_by_far(tmp_path):
    path = saved(tmp_path / "set.npz", 160, 60)
    words = ["source=none", "strategy=scratch", "batch_size=16", "trainer.max_epochs=12", "backbone.widths=[16,32]"]
    (record,) = trained(tmp_path, f"target.data.path={path}", *words, "oracle=true")
    share = np.mean(np.load(path)["y_test"] == 0)
    assert record["metrics"]["selected"]["test/iou"] > share / 3 + 0.15  # the ground everywhere scores share / 3
    assert record["metrics"]["oracle"]["test/iou"] >= record["metrics"]["selected"]["test/iou"]
    assert record["data"]["classes"] == NAMES
    assert any("diagnostics/feature_rank" in row for row in record["history"])


@pytest.mark.slow
def test_the_strategies_train_what_they_say(tmp_path):
    source, target = saved(tmp_path / "source.npz", 12, 6), saved(tmp_path / "target.npz", 12, 6)
    words = [
        "source=mask_arrays",
        f"source.pretrain.target.data.path={source}",
        "source.pretrain.max_epochs=1",
        f"target.data.path={target}",
        "backbone.widths=[4,8]",
        "batch_size=4",
        "trainer.max_epochs=3",
        "diagnostics.share=1",
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
    drift = found["linear_probe"]["history"][-1]
    assert drift["diagnostics/drift/block1"] == 0 < drift["diagnostics/drift/head"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["diagnostics.saliency.samples=[0]"], "a picture needs images that are classed one by one"),
        (["backbone=mlp"], "backbone 'mlp' gives one vector a sample"),
        (["target=digits", "~target.data.path"], "takes a mask for each image"),
        (["target.imbalance=0.5"], "is about classes"),
    ],
)
def test_what_does_not_go_with_masks_is_said_in_a_sentence(tmp_path, capsys, words, sentence):
    path = saved(tmp_path / "set.npz", 12, 4)
    base = ["source=none", "strategy=scratch", "backbone.widths=[4,8]", f"target.data.path={path}"]
    if "target=digits" in words:
        base, words = base[:-1], words[:1]
    trained(tmp_path, *base, *words, status=1)
    assert sentence in capsys.readouterr().err
