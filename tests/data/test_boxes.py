import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image

from transferlab.data.boxes import box_arrays, padded
from transferlab.data.coco import coco_json
from transferlab.data.target import Target
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput

SIZES = [(40, 20), (30, 30), (16, 50)]  # width, height
# categories stand in no order and with gaps, as COCO's do
JSON = {
    "images": [{"id": 7 + i, "file_name": f"{i}.jpg", "width": w, "height": h} for i, (w, h) in enumerate(SIZES)],
    "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 3, "bbox": [4, 10, 8, 20]},
        {"id": 2, "image_id": 7, "category_id": 18, "bbox": [0, 0, 40, 20]},
        {"id": 3, "image_id": 7, "category_id": 3, "bbox": [10, 5, 10, 5], "iscrowd": 0},
        {"id": 4, "image_id": 7, "category_id": 3, "bbox": [0, 0, 5, 5], "iscrowd": 1},
    ],
}


def written(root, name="train", content=JSON):
    (root / name).mkdir(parents=True, exist_ok=True)
    for i, (width, height) in enumerate(SIZES):
        Image.new("RGB", (width, height), (50 * i, 0, 0)).save(root / name / f"{i}.jpg")
    (root / f"{name}.json").write_text(json.dumps(content))
    return root


def read(root, in_memory=False):
    return coco_json(str(root), "train", "train.json", "test", "test.json", in_memory)


@pytest.mark.parametrize("in_memory", [True, False])
def test_boxes_are_corners_in_shares_of_their_image_at_any_size(tmp_path, in_memory):
    splits = read(written(tmp_path), in_memory)
    assert splits.classes == ("cat", "dog")
    expected = torch.full((3, 2, 5), 0.0)
    expected[..., 0] = -1
    expected[0, 0] = torch.tensor([1, 0, 0, 1, 1])
    expected[0, 1] = torch.tensor([0, 10 / 40, 5 / 20, 20 / 40, 10 / 20])
    expected[2, 0] = torch.tensor([0, 4 / 16, 10 / 50, 12 / 16, 30 / 50])
    for size in (8, 32):
        x, y = splits.train.prepared(ArrayInput.of(3, size, size))[range(3)]
        assert x.shape == (3, 3, size, size)
        torch.testing.assert_close(y, expected)


def test_each_image_keeps_its_boxes(tmp_path):
    samples = read(written(tmp_path)).train
    x, y = samples.take(torch.tensor([2, 0])).prepared(ArrayInput.of(3, 8, 8))[[0, 1]]
    assert x[:, 0, 0, 0].tolist() == pytest.approx([100, 0], abs=3)
    assert torch.equal(y, samples.y[[2, 0]])


def test_a_crowd_is_no_object(tmp_path):
    assert int((read(written(tmp_path)).train.y[..., 0] >= 0).sum()) == 3


def test_the_test_split_is_numbered_as_training_is(tmp_path):
    other = {**copy.deepcopy(JSON), "categories": [{"id": 3, "name": "cat"}, {"id": 18, "name": "dog"}]}
    splits = read(written(written(tmp_path), "test", other))
    assert torch.equal(splits.test.y, splits.train.y)
    assert read(written(tmp_path / "alone")).test is None


UNHARMED = {"imbalance": 1.0, "noise": 0.0, "missing_labels": 0.0, "missing_values": 0.0, "fitted_on": "target"}


def test_a_target_of_boxes_is_cut_as_one_stratum(tmp_path):
    cuts = {"validation": 0.5, "folds": None, "fold": 0, "test": 0.34, "source_test": 0.0, "label_space": "same"}
    target = Target(read(written(tmp_path)), "all", **UNHARMED, **cuts)
    parts = target.parts(0)
    assert (len(parts.train), len(parts.val), len(parts.test)) == (1, 1, 1)


def test_a_corner_that_rounding_put_outside_is_put_back(tmp_path):
    content = copy.deepcopy(JSON)
    content["annotations"][1]["bbox"] = [-0.4, 0, 40.9, 20.2]
    assert read(written(tmp_path, content=content)).train.y[0, 0].tolist() == [1, 0, 0, 1, 1]


def spoiled(fault):
    content = copy.deepcopy(JSON)
    first = content["annotations"][0]
    if fault == "category":
        first["category_id"] = 5
    elif fault == "flat":
        first["bbox"] = [4, 10, 0, 20]
    elif fault == "outside":
        first["bbox"] = [4, 10, 8, 50]
    elif fault == "beside":
        first["bbox"] = [16, 10, 0.5, 10]
    elif fault == "image":
        first["image_id"] = 1
    elif fault == "size":
        content["images"][2]["width"] = 50
        content["images"][2]["height"] = 16
        first["bbox"] = [1, 1, 2, 2]
    elif fault == "file":
        content["images"][2]["file_name"] = "gone.jpg"
    elif fault == "key":
        del first["bbox"]
    elif fault == "none":
        content["annotations"] = []
    return content


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("category", r"annotation 1 of image 9 has the category 5, the training json knows \[3, 18\]"),
        ("flat", r"annotation 1 of image 9 \(2\.jpg\): the box \[4, 10, 0, 20\] has no area"),
        ("outside", r"annotation 1 of image 9 \(2\.jpg\): the box \[4, 10, 8, 50\] lies outside its image of 16 x 50"),
        ("beside", r"annotation 1 .*lies outside"),
        ("image", r"annotation 1 of image 1: there is no such image"),
        ("size", r"2\.jpg has 16 x 50 pixels .*train\.json says 50 x 16"),
        ("file", r"train\.json names the image .*gone\.jpg, which is not there"),
        ("key", r"train\.json is no json as COCO has it for boxes: KeyError: 'bbox'"),
        ("none", r"train\.json has no box on any image"),
    ],
)
def test_what_is_wrong_with_a_json_is_said_with_the_annotation(tmp_path, fault, sentence):
    with pytest.raises(InputError, match=sentence):
        read(written(tmp_path, content=spoiled(fault)))


def test_a_json_that_is_missing_or_broken_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*train\.json"):
        read(tmp_path)
    (written(tmp_path) / "train.json").write_text("[")
    with pytest.raises(InputError, match=r"train\.json is no json"):
        read(tmp_path)


def test_boxes_are_filled_up_with_rows_of_no_class():
    y = padded([[], [[2, 0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1, 1]]])
    assert y.shape == (2, 2, 5)
    assert y[0, :, 0].tolist() == [-1, -1]
    torch.testing.assert_close(y[1], torch.tensor([[2, 0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1, 1]]))
    assert padded([[], []]).shape == (2, 1, 5)


X = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
Y = np.array([[[0, 0.1, 0.1, 0.5, 0.5], [1, 0.2, 0, 1, 1]], [[1, 0, 0, 0.5, 1], [-1, 0, 0, 0, 0]]], np.float32)


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "set.npz", **{"x_train": X, "y_train": Y, **arrays})
    return str(tmp_path / "set.npz")


def test_arrays_of_boxes_are_read_as_they_are(tmp_path):
    splits = box_arrays(saved(tmp_path, x_test=X[:1], y_test=Y[:1], classes=np.array(["cat", "dog"])))
    assert splits.classes == ("cat", "dog")
    np.testing.assert_array_equal(splits.train.y.numpy(), Y)
    assert len(splits.test) == 1
    assert box_arrays(saved(tmp_path)).classes == ("0", "1")


def changed(place, value):
    y = Y.copy()
    y[place] = value
    return y


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (changed((0, 1, 0), 2), r"box 1 of image 0 has a class that is no whole number in 0\.\.1"),
        (changed((0, 1, 0), 0.5), r"box 1 of image 0 has a class that is no whole number"),
        (changed((1, 0, 3), 1.5), r"box 0 of image 1 has a corner outside the image"),
        (changed((1, 0, 3), np.nan), r"box 0 of image 1 has a corner outside the image"),
        (changed((1, 0, 3), 0), r"box 0 of image 1 has no area"),
        (changed((..., 0), -1), "has no box on any image"),
        (Y[..., :4], r"is float32 of the shape \(2, 2, 4\)"),
        (Y[:1], r"is float32 of the shape \(1, 2, 5\); boxes of 2 images"),
    ],
)
def test_what_is_wrong_with_an_array_of_boxes_is_said_with_the_box(tmp_path, y, sentence):
    with pytest.raises(InputError, match=sentence):
        box_arrays(saved(tmp_path, y_train=y, classes=np.array(["cat", "dog"])))
