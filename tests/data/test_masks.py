import pickle

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from transferlab.data.masks import IGNORED, Masked, MaskedFiles, fit_mask
from transferlab.data.segmentation import mask_arrays, mask_folder
from transferlab.data.target import Target
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput

SIZES = [(12, 10), (9, 14), (16, 16), (7, 21)]
SMALL = ArrayInput.of(3, 8, 8)


def numbers(*shape, most=256, seed=0):
    return np.random.default_rng(seed).integers(0, most, shape).astype(np.uint8)


def painted(folder, sizes=SIZES, seed=0, most=3):
    """Images and masks of differing sizes; masks as palette and as grey in turn."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i, size in enumerate(sizes):
        Image.fromarray(numbers(*size, 3, seed=seed + i)).save(folder / "images" / f"{i}.png")
        mask = Image.fromarray(numbers(*size, most=most, seed=seed + 50 + i))
        if i % 2:
            mask = Image.fromarray(np.asarray(mask), "P")
            mask.putpalette(list(numbers(768, seed=9)))  # colours say nothing, numbers do
        mask.save(folder / "masks" / f"{i}.png")
    return folder


@pytest.fixture
def folder(tmp_path):
    painted(tmp_path / "train")
    painted(tmp_path / "test", SIZES[:2], seed=20)
    return tmp_path


def read(root, in_memory=False, classes=("ground", "cat", "dog"), train="train"):
    return mask_folder(str(root), train, "test", classes, in_memory)


@pytest.mark.parametrize("size", [(8, 8), (24, 20), (5, 17)])
def test_a_resized_mask_is_pillows_nearest_neighbour_and_holds_no_class_of_its_own(size):
    mask = numbers(12, 10, most=200)
    expected = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
    np.testing.assert_array_equal(fit_mask(torch.from_numpy(mask), size).numpy(), expected)
    assert set(np.unique(expected)) <= set(np.unique(mask))
    both = torch.from_numpy(np.stack([mask, mask[::-1].copy()]))
    assert torch.equal(fit_mask(both, size)[0], fit_mask(both[0], size))


def test_a_mask_of_the_right_size_is_left_alone():
    mask = torch.from_numpy(numbers(3, 12, 10))
    assert fit_mask(mask, (12, 10)) is mask


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_folder_gives_each_image_with_its_own_mask_at_the_inputs_size(folder, in_memory):
    splits = read(folder, in_memory)
    samples = splits.train.prepared(SMALL)
    assert isinstance(samples, Masked if in_memory else MaskedFiles)
    x, y = samples[range(4)]
    assert (x.dtype, y.dtype, tuple(x.shape), tuple(y.shape)) == (torch.uint8, torch.int64, (4, 3, 8, 8), (4, 8, 8))
    for i, size in enumerate(SIZES):
        mask = torch.from_numpy(numbers(*size, most=3, seed=50 + i))
        assert torch.equal(y[i], fit_mask(mask, (8, 8)).long())
    assert len(splits.test) == 2
    assert splits.classes == ("ground", "cat", "dog")


def test_masks_in_memory_take_a_byte_a_pixel(folder):
    samples = read(folder, True).train.prepared(SMALL)
    assert samples.y.dtype == torch.uint8
    assert samples.y.shape == (4, 8, 8)


@pytest.mark.parametrize("in_memory", [True, False])
def test_taken_samples_keep_their_masks(folder, in_memory):
    samples = read(folder, in_memory).train
    whole, taken = samples.prepared(SMALL), samples.take(torch.tensor([3, 0])).prepared(SMALL)
    assert torch.equal(taken[[0, 1]][1], whole[[3, 0]][1])
    assert torch.equal(taken.take(torch.tensor([1]))[[0]][1], whole[[0]][1])


@pytest.mark.parametrize("in_memory", [True, False])
def test_relabelling_changes_masks_alone(folder, in_memory):
    samples = read(folder, in_memory).train.take(torch.tensor([2, 0, 1]))
    other = torch.from_numpy(numbers(3, 8, 8, most=3, seed=7)).long()
    x, y = samples.relabelled(other).prepared(SMALL)[range(3)]
    assert torch.equal(y, other)
    assert torch.equal(x, samples.prepared(SMALL)[range(3)][0])


def test_before_its_masks_are_fetched_a_set_says_the_shares_of_their_classes(folder):
    y = read(folder).train.take(torch.tensor([2, 1])).y
    for small, i in zip(y, (2, 1), strict=True):
        shares = np.bincount(numbers(*SIZES[i], most=3, seed=50 + i).ravel(), minlength=4) / np.prod(SIZES[i])
        np.testing.assert_allclose(np.bincount(small.ravel(), minlength=4) / small.numel(), shares, atol=0.05)


UNHARMED = {"imbalance": 1.0, "noise": 0.0, "missing_labels": 0.0, "missing_values": 0.0, "fitted_on": "target"}


def test_a_target_of_masks_is_cut_as_one_stratum(folder):
    target = Target(
        read(folder),
        labels=0.5,
        **UNHARMED,
        validation=0.5,
        folds=None,
        fold=0,
        test=0.3,
        source_test=0.0,
        label_space="same",
    )
    parts = target.parts(0)
    assert (len(parts.train), len(parts.val), len(parts.test), parts.labels_seen) == (1, 1, 2, 2)


def test_a_changed_pixel_changes_the_fingerprint(folder):
    before = read(folder).train.fingerprint()
    assert read(folder, True).train.fingerprint() == before
    mask = np.array(Image.open(folder / "train" / "masks" / "0.png"))
    mask[0, 0] = (mask[0, 0] + 1) % 3
    Image.fromarray(mask).save(folder / "train" / "masks" / "0.png")
    assert read(folder).train.fingerprint() != before


def test_loader_processes_can_take_the_samples_along(folder):
    samples = read(folder).train.prepared(SMALL)
    assert torch.equal(pickle.loads(pickle.dumps(samples))[[1]][1], samples[[1]][1])
    loader = DataLoader(samples, sampler=[[0, 1], [2, 3]], batch_size=None, num_workers=1)
    assert torch.equal(torch.cat([y for _, y in loader]), samples[range(4)][1])


def test_classes_come_from_the_config_else_a_file_else_the_masks(folder):
    assert read(folder, classes=None).classes == ("0", "1", "2")
    (folder / "classes.txt").write_text("ground\ncat\ndog\nbird\n")
    assert read(folder, classes=None).classes == ("ground", "cat", "dog", "bird")
    assert read(folder).classes == ("ground", "cat", "dog")


def test_ignored_pixels_are_no_class(folder):
    mask = np.full((12, 10), IGNORED, np.uint8)
    Image.fromarray(mask).save(folder / "train" / "masks" / "0.png")
    splits = read(folder, classes=None)
    assert splits.classes == ("0", "1", "2")
    assert (splits.train.prepared(SMALL)[[0]][1] == IGNORED).all()


def test_without_sub_folders_the_root_holds_images_and_masks(folder):
    splits = read(folder / "train", train=None)
    assert len(splits.train) == 4
    assert splits.test is None


def spoil(folder, fault):
    masks, images = folder / "train" / "masks", folder / "train" / "images"
    if fault == "class":
        Image.fromarray(np.full((12, 10), 3, np.uint8)).save(masks / "0.png")
    elif fault == "wide":
        Image.fromarray(np.full((12, 10), 300, np.uint16)).save(masks / "0.png")
    elif fault == "size":
        Image.fromarray(numbers(10, 12, most=3)).save(masks / "0.png")
    elif fault == "colour":
        Image.fromarray(numbers(12, 10, 3)).save(masks / "0.png")
    elif fault == "broken":
        (masks / "0.png").write_bytes((masks / "0.png").read_bytes()[:50])
    elif fault == "no mask":
        (masks / "0.png").unlink()
    elif fault == "no image":
        (images / "0.png").unlink()
    elif fault == "twice":
        Image.fromarray(numbers(12, 10, 3)).save(images / "0.jpg")
    elif fault == "no folder":
        masks.rename(folder / "train" / "labels")
    elif fault == "broken image":
        (images / "0.png").write_bytes(b"none")
    elif fault == "empty":
        for file in [*images.iterdir(), *masks.iterdir()]:
            file.unlink()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("class", r"masks/0\.png has a pixel of class 3, outside 0\.\.2 \(3 classes"),
        ("wide", r"masks/0\.png has a pixel of class 300"),
        ("size", r"images/0\.png has 12 x 10 pixels .*its mask .*masks/0\.png 10 x 12"),
        ("colour", r"masks/0\.png is RGB: a mask has one channel"),
        ("broken", r"masks/0\.png is no readable mask"),
        ("no mask", r"images/0\.png has no mask .*masks/0\.png"),
        ("no image", r"masks/0\.png is the mask of no image"),
        ("twice", r"images/0\.jpg and .*images/0\.png differ in their suffix"),
        ("no folder", r"there is no folder .*train/masks"),
        ("broken image", r"images/0\.png is no readable image"),
        ("empty", r"images holds no images"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_with_the_file(folder, fault, sentence):
    spoil(folder, fault)
    with pytest.raises(InputError, match=sentence):
        read(folder)


def test_a_wrong_mask_of_the_test_split_is_found_before_training(folder):
    Image.fromarray(np.full((12, 10), 7, np.uint8)).save(folder / "test" / "masks" / "0.png")
    with pytest.raises(InputError, match=r"test/masks/0\.png has a pixel of class 7"):
        read(folder)


def saved(tmp_path, kind, **arrays):
    path = tmp_path / f"set.{kind}"
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = [str(one).encode() for one in array] if array.dtype.kind == "U" else array
    return str(path)


GOOD = {
    "x_train": numbers(4, 12, 10, 3),
    "y_train": numbers(4, 12, 10, most=3),
    "x_test": numbers(2, 12, 10, 3, seed=1),
    "y_test": numbers(2, 12, 10, most=3, seed=1),
    "classes": np.array(["ground", "cat", "dog"]),
}


@pytest.mark.parametrize("kind", ["npz", "h5"])
def test_arrays_are_read_with_their_test_split_and_names(tmp_path, kind):
    splits = mask_arrays(saved(tmp_path, kind, **GOOD))
    assert splits.classes == ("ground", "cat", "dog")
    x, y = splits.train[range(4)]
    np.testing.assert_array_equal(x.numpy(), GOOD["x_train"].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(y.numpy(), GOOD["y_train"])
    np.testing.assert_array_equal(splits.test.y.numpy(), GOOD["y_test"])


def test_arrays_without_names_or_test_split_number_their_classes(tmp_path):
    masks = GOOD["y_train"].astype(np.int64)
    masks[0, 0, 0] = IGNORED
    splits = mask_arrays(saved(tmp_path, "npz", x_train=GOOD["x_train"], y_train=masks))
    assert splits.classes == ("0", "1", "2")
    assert splits.test is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"y_train": GOOD["y_train"][:, :6]}, r"train: y is uint8 of the shape \(4, 6, 10\); .*\(4, 12, 10\)"),
        ({"y_train": GOOD["y_train"].astype(float)}, r"train: y is float64"),
        ({"y_test": GOOD["y_test"] + 1}, r"test: mask 0 has a pixel of class 3, outside 0\.\.2"),
        ({"y_train": GOOD["y_train"].astype(int) - 1}, r"train: mask 0 has a pixel of class -1"),
        ({"x_train": GOOD["x_train"].astype(float)}, r"x is float64 .*images are uint8"),
        ({"x_train": GOOD["x_train"][:0], "y_train": GOOD["y_train"][:0]}, "x holds no samples"),
        ({"y_test": None}, "has no array 'y_test'"),
        ({"x_train": None}, "has no array 'x_train'"),
    ],
)
def test_what_is_wrong_with_arrays_is_said_with_their_name(tmp_path, change, sentence):
    arrays = {name: array for name, array in {**GOOD, **change}.items() if array is not None}
    with pytest.raises(InputError, match=sentence):
        mask_arrays(saved(tmp_path, "npz", **arrays))


def test_arrays_that_are_not_there_or_broken_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone\.npz: there is no such file"):
        mask_arrays(str(tmp_path / "gone.npz"))
    for name in ("broken.npz", "broken.h5"):
        (tmp_path / name).write_bytes(b"none")
        with pytest.raises(InputError, match=f"{name} is no .npz or HDF5"):
            mask_arrays(str(tmp_path / name))


def test_images_with_masks_are_refused_by_a_net_for_tables(folder, tmp_path):
    with pytest.raises(InputError, match="for tables"):
        mask_arrays(saved(tmp_path, "npz", **GOOD)).train.prepared(ArrayInput.of(360))
    with pytest.raises(InputError, match="takes tables"):
        read(folder).train.prepared(ArrayInput.of(360))
