import struct
import threading
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from transferlab.data.arrays import hdf5, npz
from transferlab.data.embedded import mnist5k, uci_digits
from transferlab.data.folder import image_folder
from transferlab.data.images import Cached, Images, Opened
from transferlab.data.samples import InMemory
from transferlab.data.torchvision import named
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput

DIGITS = tuple("0123456789")
LABELS = np.array([0, 1, 2, 0, 1, 2])
UNIT = [0, 1]
TABLE = np.arange(18, dtype=np.float32).reshape(6, 3)


def bytes_of(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def digits_of_mnist():
    return mnist5k(0)


def test_mnist5k_is_500_images_of_each_digit(digits_of_mnist):
    assert digits_of_mnist.train.x.shape == (5000, 1, 28, 28)
    assert digits_of_mnist.train.x.dtype == torch.uint8
    assert digits_of_mnist.train.y.bincount().tolist() == [500] * 10
    assert digits_of_mnist.test is None
    assert digits_of_mnist.classes == DIGITS


def test_mnist5k_is_the_first_500_of_each_digit_of_mnist(digits_of_mnist, real_data):
    whole = torchvision.datasets.MNIST(real_data)
    for digit in range(10):
        ours = digits_of_mnist.train.x[digits_of_mnist.train.y == digit, 0]
        assert torch.equal(ours, whole.data[whole.targets == digit][:500])


def test_uci_digits_are_scikit_learns_spread_over_the_grey_levels():
    from sklearn.datasets import load_digits

    digits, ours = load_digits(), uci_digits()
    assert ours.train.x.shape == (1797, 1, 8, 8)
    assert ours.train.x.dtype == torch.uint8
    assert np.abs(ours.train.x[:, 0].numpy() - digits.images / 16 * 255).max() <= 0.5
    np.testing.assert_array_equal(ours.train.y.numpy(), digits.target)
    assert ours.test is None
    assert ours.classes == DIGITS


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "own.npz", **arrays)
        return str(tmp_path / "own.npz")

    return save


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((6, 9, 7, 3), (0, 3, 1, 2)),
        ((6, 9, 7, 1), (0, 3, 1, 2)),
        ((6, 3, 9, 7), (0, 1, 2, 3)),
        ((6, 1, 9, 7), (0, 1, 2, 3)),
        ((6, 3, 9, 3), (0, 1, 2, 3)),
    ],
    ids=["NHWC", "NHW1", "NCHW", "N1HW", "NCHW 3 wide"],
)
def test_images_of_an_npz_are_brought_to_channels_first(saved, shape, axes):
    x = bytes_of(*shape)
    ours = npz(saved(x_train=x, y_train=LABELS), UNIT)
    np.testing.assert_array_equal(ours.train.x.numpy(), x.transpose(axes))
    assert ours.train.x.dtype == torch.uint8


def test_grey_images_of_an_npz_get_one_channel(saved):
    x = bytes_of(6, 9, 7)
    np.testing.assert_array_equal(npz(saved(x_train=x, y_train=LABELS), UNIT).train.x.numpy(), x[:, None])


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int64", "int16", "uint8", "uint16", "bool", ">f4"])
def test_tables_of_an_npz_are_read_as_float32(saved, kind):
    x = (TABLE % 2 if kind == "bool" else TABLE).astype(kind)
    ours = npz(saved(x_train=x, y_train=LABELS), UNIT).train.x
    assert ours.dtype == torch.float32
    np.testing.assert_array_equal(ours.numpy(), x.astype(np.float32))


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "uint16", ">i4"])
def test_labels_of_an_npz_are_whole_numbers_of_any_size(saved, kind):
    ours = npz(saved(x_train=TABLE, y_train=LABELS.astype(kind)), UNIT)
    assert ours.train.y.dtype == torch.int64
    assert ours.train.y.tolist() == LABELS.tolist()
    assert ours.classes == ("0", "1", "2")
    assert ours.test is None


@pytest.mark.parametrize(
    "names", [["ant", "bee", "cat", "dog"], [b"ant", b"bee", b"cat", b"dog"]], ids=["text", "bytes"]
)
def test_an_npz_may_bring_a_test_split_and_the_names_of_its_classes(saved, names):
    path = saved(x_train=TABLE, y_train=LABELS, x_test=TABLE[:2] + 1, y_test=LABELS[:2] + 2, classes=np.array(names))
    ours = npz(path, UNIT)
    assert ours.classes == ("ant", "bee", "cat", "dog")
    np.testing.assert_array_equal(ours.test.x.numpy(), TABLE[:2] + 1)
    assert ours.test.y.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x_train": TABLE}, r"no array 'y_train' \(it has: x_train\)"),
        ({"y_train": LABELS, "x": TABLE}, r"no array 'x_train' \(it has: y_train, x\)"),
        ({"x_train": TABLE, "y_train": LABELS, "x_test": TABLE}, "no array 'y_test'"),
        ({"x_train": TABLE, "y_train": LABELS.astype(object)}, "no .npz or HDF5 file of plain numbers"),
        ({"x_train": TABLE.astype(object), "y_train": LABELS}, "no .npz or HDF5 file of plain numbers"),
        ({"x_train": TABLE, "y_train": LABELS / np.array([1, 1, 0, 1, 1, 1])}, "label of sample 2 is infinite"),
        ({"x_train": TABLE, "y_train": np.zeros((6, 2)), "classes": ["a"]}, "'classes' names 1 outputs, y_train has 2"),
        (
            {"x_train": TABLE, "y_train": np.zeros((6, 2)), "x_test": TABLE, "y_test": np.zeros((6, 3))},
            r"y_test is float64 of the shape \(6, 3\).*2 a sample as in training",
        ),
        ({"x_train": TABLE, "y_train": LABELS.astype(str)}, "y_train is <U.*, labels are integers"),
        ({"x_train": TABLE.astype(str), "y_train": LABELS}, "x_train"),
        ({"x_train": TABLE, "y_train": LABELS[:, None]}, "y_train"),
        ({"x_train": TABLE, "y_train": np.eye(3, dtype=int)[LABELS]}, "y_train"),
        ({"x_train": TABLE, "y_train": np.array(3)}, "y_train"),
        ({"x_train": TABLE, "y_train": LABELS[:5]}, "train has 6 inputs but 5 labels"),
        ({"x_train": TABLE, "y_train": LABELS - 2}, "label of sample 0 is -2"),
        ({"x_train": TABLE, "y_train": LABELS * 0 - 1}, "y_train is -1 everywhere"),
        ({"x_train": TABLE, "y_train": LABELS, "classes": ["a", "b"]}, r"label of sample 2 is 2, outside 0..1 \(2 cl"),
        (
            {"x_train": TABLE, "y_train": LABELS, "x_test": TABLE, "y_test": LABELS + 1},
            "test: the label of sample 2 is 3",
        ),
        ({"x_train": np.where(TABLE == 4, np.nan, TABLE), "y_train": LABELS}, "train: sample 1 holds NaN"),
        ({"x_train": TABLE[:0], "y_train": LABELS[:0]}, "train holds no samples"),
        (
            {"x_train": bytes_of(6, 9, 7).astype(np.float32), "y_train": LABELS},
            r"is float32 and holds \d+, outside target.data.range=\[0, 1\].*uint8",
        ),
        ({"x_train": bytes_of(6, 2, 2, 2, 2), "y_train": LABELS}, r"shape \(6, 2, 2, 2, 2\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unusable_npz_is_refused_by_file_and_fault(saved, arrays, sentence):
    path = saved(**arrays)
    with pytest.raises(InputError, match=sentence) as refusal:
        npz(path, UNIT)
    assert "own.npz" in str(refusal.value)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.linspace(-1, 1, 6), ("0",)),
        (np.array([[1, np.nan], [2, 3], [4, 5], [6, 7], [8, 9], [np.nan, np.nan]]), ("0", "1")),
        (np.eye(3)[LABELS].astype(np.float32), ("0", "1", "2")),
        (np.array([0, 1, np.nan, 0, 1, 1], dtype=np.float16), ("0",)),
    ],
    ids=["numbers", "two numbers", "multi-label", "missing"],
)
def test_float_labels_of_an_npz_are_numbers_or_columns_of_labels(saved, y, classes):
    ours = npz(saved(x_train=TABLE, y_train=y), UNIT)
    assert ours.train.y.dtype == torch.float32
    np.testing.assert_array_equal(ours.train.y.numpy(), y.astype(np.float32))
    assert ours.classes == classes


def test_samples_of_an_npz_without_a_class_are_left_out_and_counted(saved):
    missing = np.array([0, -1, 2, 1, -1, 0])
    ours = npz(saved(x_train=TABLE, y_train=missing, x_test=TABLE, y_test=np.array([0, 1, -1, 0, 1, 2])), UNIT)
    assert (ours.train.y.tolist(), ours.test.y.tolist()) == ([0, 2, 1, 0], [0, 1, 0, 1, 2])
    np.testing.assert_array_equal(ours.train.x.numpy(), TABLE[missing >= 0])
    assert (ours.unlabelled, ours.classes) == (3, ("0", "1", "2"))


@pytest.mark.parametrize("shape", [(6, 9, 7), (6, 9, 7, 3), (6, 3, 9, 7)])
def test_images_of_floats_are_the_bytes_that_they_were_made_of(saved, shape):
    x = bytes_of(*shape)
    whole = npz(saved(x_train=x, y_train=LABELS), UNIT).train.x
    for floats, range in ((x / 255, [0, 1]), ((x / 127.5 - 1).astype(np.float32), [-1, 1])):
        assert torch.equal(npz(saved(x_train=floats, y_train=LABELS), range).train.x, whole)


@pytest.fixture
def nested(tmp_path):
    """An HDF5 file as USPS is published: images as rows of floats, in groups."""
    x = bytes_of(6, 256)
    with h5py.File(tmp_path / "own.h5", "w") as file:
        for split, y in (("train", LABELS), ("test", LABELS[::-1])):
            file[f"{split}/data"], file[f"{split}/target"] = (x / 255).astype(np.float32), y
        file["names"] = ["ant", "bee", "cat"]
    return str(tmp_path / "own.h5"), x


NESTED = {"x_train": "train/data", "y_train": "train/target", "x_test": "/test/data", "y_test": "test/target"}


def test_arrays_of_an_hdf5_file_are_read_by_their_keys(nested):
    path, x = nested
    ours = hdf5(path, **NESTED, classes="names", shape=[1, 16, 16], range=UNIT)
    np.testing.assert_array_equal(ours.train.x.numpy(), x.reshape(6, 1, 16, 16))
    assert (ours.train.y.tolist(), ours.test.y.tolist()) == (LABELS.tolist(), LABELS[::-1].tolist())
    assert ours.classes == ("ant", "bee", "cat")
    table = hdf5(path, "train/data", "train/target", None, None, None, None, UNIT)
    np.testing.assert_array_equal(table.train.x.numpy(), (x / 255).astype(np.float32))
    assert (table.test, table.classes) == (None, ("0", "1", "2"))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"x_train": "train/dta"}, r"x_train=train/dta: .*own.h5 has no such array; did you mean 'train/data'"),
        ({"x_train": "train"}, "x_train=train: .*has no such array"),
        ({"y_test": None}, "no array 'y_test'"),
        ({"shape": [16, 15]}, r"256 values a sample, target.data.shape=\[16, 15\] 240"),
    ],
    ids=str,
)
def test_an_hdf5_file_without_what_is_asked_for_is_refused(nested, changed, sentence):
    with pytest.raises(InputError, match=sentence):
        hdf5(nested[0], **{**NESTED, "classes": None, "shape": None, "range": UNIT, **changed})


def test_usps_of_its_hdf5_file_is_7291_and_2007_images(real_data):
    read = hdf5(str(real_data / "usps" / "usps.h5"), **NESTED, classes=None, shape=[16, 16], range=UNIT)
    assert read.train.x.shape == (7291, 1, 16, 16)
    assert read.test.x.shape == (2007, 1, 16, 16)
    # 1-nearest neighbour: the published test error is 5.63 %
    train, test = (part.x.flatten(1).float() for part in (read.train, read.test))
    nearest = torch.cdist(test, train).argmin(1)
    assert (read.train.y[nearest] != read.test.y).sum() == round(0.0563 * 2007)


def test_an_npz_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gone\.npz: there is no such file"):
        npz(str(tmp_path / "gone.npz"), UNIT)


@pytest.mark.parametrize("fault", ["text", "empty", "cut", "flipped", "npy"])
def test_a_broken_npz_is_refused(saved, tmp_path, fault):
    whole = Path(saved(x_train=TABLE, y_train=LABELS)).read_bytes()
    np.save(tmp_path / "one.npy", TABLE)
    flipped = bytearray(whole)
    flipped[whole.index(TABLE.tobytes()) + 9] ^= 255
    contents = {
        "text": b"hello",
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "flipped": bytes(flipped),
        "npy": (tmp_path / "one.npy").read_bytes(),
    }
    (tmp_path / "broken.npz").write_bytes(contents[fault])
    with pytest.raises(InputError, match=r"broken\.npz"):
        npz(str(tmp_path / "broken.npz"), UNIT)


def paint(folder, n=2, suffix="png", level=0):
    folder.mkdir(parents=True)
    for i in range(n):
        Image.new("RGB", (8, 8), (level, i, 0)).save(folder / f"{i}.{suffix}")


@pytest.fixture
def folders(tmp_path):
    """Bees before ants, so that an order by creation would show."""
    paint(tmp_path / "train" / "bees", 3, level=20)
    paint(tmp_path / "train" / "ants", 2, "JPG", level=10)
    paint(tmp_path / "test" / "bees", 1, level=120)
    paint(tmp_path / "test" / "ants", 2, level=110)
    return tmp_path


def levels(samples):
    """The colour that `paint` gave: red is the folder, green the number."""
    x, y = samples.prepared(ArrayInput.of(3, 8, 8))[range(len(samples))]
    return sorted(zip(y.tolist(), x[:, 0, 0, 0].tolist(), x[:, 1, 0, 0].tolist(), strict=True))


@pytest.mark.parametrize(("in_memory", "kind"), [(True, Cached), (False, Images)])
def test_a_folder_of_images_is_read_with_its_test_split(folders, in_memory, kind):
    read = image_folder(str(folders), "train", "test", in_memory)
    assert isinstance(read.train, kind)
    assert read.classes == ("ants", "bees")
    assert read.train.y.tolist() == [0, 0, 1, 1, 1]
    assert levels(read.test) == [(0, 110, 0), (0, 110, 1), (1, 120, 0)]
    assert {(label, red) for label, red, _ in levels(read.train) if label} == {(1, 20)}


@pytest.mark.parametrize("test", [None, "validation"])
def test_a_folder_without_a_test_split_is_read_without_one(folders, test):
    read = image_folder(str(folders), "train", test, False)
    assert read.test is None
    assert len(read.train) == 5


def test_a_folder_of_classes_alone_is_read_whole(folders):
    read = image_folder(str(folders / "train"), None, "test", False)
    assert read.test is None
    assert read.classes == ("ants", "bees")
    assert len(read.train) == 5


def test_images_in_folders_below_a_class_belong_to_it_and_other_files_do_not(folders):
    paint(folders / "train" / "ants" / "more", 2, level=30)
    (folders / "train" / "ants" / "notes.txt").write_text("no image")
    (folders / "train" / "README").write_text("no class")
    read = image_folder(str(folders), "train", None, False)
    assert read.classes == ("ants", "bees")
    assert read.train.y.bincount().tolist() == [4, 3]


def test_a_corrupt_file_of_a_folder_is_refused_by_its_path(folders):
    bad = folders / "train" / "bees" / "1.png"
    bad.write_bytes(bad.read_bytes()[:40])
    read = image_folder(str(folders), "train", "test", True)
    with pytest.raises(InputError, match=str(bad)):
        read.train.prepared(ArrayInput.of(3, 8, 8)).decode()


def test_folders_that_cannot_be_read_are_refused_by_their_path(folders):
    (folders / "bare").mkdir()
    (folders / "hollow" / "ants").mkdir(parents=True)
    (folders / "few" / "ants").mkdir(parents=True)
    for root, train, test, sentence in (
        ("gone", "train", None, "there is no folder .*gone.*; set root"),
        (".", "gone", None, "there is no folder .*gone; set root, or train=null"),
        (".", "bare", None, "bare has no sub-folders: one a class"),
        (".", "hollow", None, "hollow holds no images"),
        (".", "train", "few", "few holds no images"),
    ):
        with pytest.raises(InputError, match=sentence):
            image_folder(str(folders / root), train, test, False)


def test_a_class_that_only_the_test_split_has_is_refused_by_its_name(folders):
    paint(folders / "test" / "wasps")
    with pytest.raises(InputError, match=r"test has the classes \['wasps'\], which .*train lacks"):
        image_folder(str(folders), "train", "test", False)


def write_mnist(root, n_train=6, n_test=4):
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    held = {}
    for name, n in (("train", n_train), ("t10k", n_test)):
        x, y = bytes_of(n, 28, 28, seed=n), (np.arange(n) % 10).astype(np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, n, 28, 28) + x.tobytes())
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, n) + y.tobytes())
        held[name] = x, y
    return held


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_torchvision_set_by_name_is_its_files(tmp_path, in_memory):
    held = write_mnist(tmp_path)
    read = named("MNIST", str(tmp_path), False, in_memory)
    for split, (x, y) in ((read.train, held["train"]), (read.test, held["t10k"])):
        np.testing.assert_array_equal(split.prepared(ArrayInput.of(1, 28, 28))[range(len(y))][0][:, 0].numpy(), x)
        np.testing.assert_array_equal(split.y.numpy(), y)
    assert read.classes == tuple(torchvision.datasets.MNIST.classes)


class Colourful:
    """Looks like torchvision's sets that hold their arrays: `split`, NHWC, `labels`, no names."""

    def __init__(self, root, split="train"):
        self.data = bytes_of(4, 9, 7, 3, seed=len(split))
        self.labels = [0, 1, 2, 1]


def test_a_torchvision_set_of_arrays_is_brought_to_channels_first(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision.datasets, "Colourful", Colourful, raising=False)
    read = named("Colourful", str(tmp_path), False, True)
    for split, samples in (("train", read.train), ("test", read.test)):
        np.testing.assert_array_equal(samples.x.numpy(), Colourful("", split).data.transpose(0, 3, 1, 2))
    assert read.train.y.tolist() == [0, 1, 2, 1]
    assert read.classes == ("0", "1", "2")


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_torchvision_set_of_files_is_decoded_image_by_image(folders, in_memory):
    read = named("ImageFolder", str(folders / "train"), False, in_memory)
    assert isinstance(read.train, Cached if in_memory else Images)
    assert read.test is None
    assert read.classes == ("ants", "bees")
    assert levels(read.train) == levels(image_folder(str(folders), "train", None, False).train)


def test_a_corrupt_image_of_a_torchvision_set_is_refused_by_its_number(folders):
    (folders / "train" / "bees" / "1.png").write_bytes(b"broken")
    read = named("ImageFolder", str(folders / "train"), False, True)
    with pytest.raises(InputError, match=r"ImageFolder\[3\] is no readable image"):
        read.train.prepared(ArrayInput.of(3, 8, 8)).decode()


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "SVHN", "Flowers102", "Caltech101"])
def test_files_that_are_missing_are_named_with_the_remedy(name, tmp_path):
    with pytest.raises(InputError, match=rf"{name} is not under .*set paths.data.*download=true") as refusal:
        named(name, str(tmp_path / "gone"), False, True)
    assert str(tmp_path / "gone") in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "gone" / name).exists()


@pytest.mark.parametrize(
    ("typed", "meant"), [("MNITS", "MNIST"), ("CIFAR-10", "CIFAR10"), ("mnist", "MNIST"), ("cifar10", "CIFAR10")]
)
def test_an_unknown_set_is_answered_with_the_nearest_name(typed, meant, tmp_path):
    with pytest.raises(InputError, match=f"no torchvision data set '{typed}'; did you mean '{meant}'"):
        named(typed, str(tmp_path), False, True)


@pytest.mark.parametrize("name", ["DatasetFolder", "HMDB51"])
def test_a_torchvision_class_that_a_root_does_not_open_is_refused_by_its_name(name, tmp_path):
    with pytest.raises(InputError, match=name):
        named(name, str(tmp_path), False, True)


def test_mnist_is_60000_and_10000_images(real_data):
    read = named("MNIST", str(real_data), False, True)
    assert isinstance(read.train, InMemory)
    assert read.train.x.shape == (60_000, 1, 28, 28)
    assert read.test.x.shape == (10_000, 1, 28, 28)
    assert len(read.classes) == 10
    # the published sizes of the classes
    assert read.test.y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_hymenoptera_is_244_and_153_photographs(real_data):
    read = image_folder(str(real_data / "hymenoptera"), "train", "val", False)
    assert (len(read.train), len(read.test)) == (244, 153)
    assert read.classes == ("ants", "bees")
    x, y = read.test.take(torch.tensor([0, 152])).prepared(ArrayInput.of(3, 32, 32))[[0, 1]]
    assert x.shape == (2, 3, 32, 32)
    assert y.tolist() == [0, 1]


def test_cifar10_small_is_5000_and_2000_colour_images(real_data):
    read = npz(str(real_data / "cifar10_small" / "cifar10_small.npz"), UNIT)
    assert read.train.x.shape == (5000, 3, 32, 32)
    assert read.test.x.shape == (2000, 3, 32, 32)
    assert read.classes[:2] == ("airplane", "automobile")


def test_the_border_of_mnist5k_is_cut_off_at_each_side():
    assert torch.equal(mnist5k(4).train.x, mnist5k(0).train.x[..., 4:-4, 4:-4])
    with pytest.raises(InputError, match="border=14"):
        mnist5k(14)


@pytest.mark.parametrize("read", (uci_digits, partial(mnist5k, 0), partial(mnist5k, 4)))
def test_what_one_run_does_to_a_set_that_is_read_once_no_other_sees(read):
    samples = read().train
    whole = samples.fingerprint()
    samples.x.zero_()
    samples.y.zero_()
    assert read().train.fingerprint() == whole != samples.fingerprint()


def test_files_are_decoded_several_at_a_time_and_come_in_order(tmp_path, monkeypatch):
    files = []
    for value in range(20):
        files.append(str(tmp_path / f"{value}.png"))
        Image.new("RGB", (9, 7), (value, value, value)).save(files[-1])
    images = Images.of(Opened(files), files, torch.arange(20)).prepared(ArrayInput.of(3, 4, 4))
    workers = set()
    fit = Images._fitted

    def noted(self, position, input):
        workers.add(threading.get_ident())
        return fit(self, position, input)

    monkeypatch.setattr(Images, "_fitted", noted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    x, y = images[[7, 3, 3, 19]]
    assert x[:, 0, 0, 0].tolist() == y.tolist() == [7, 3, 3, 19]
    assert threading.get_ident() not in workers
    (tmp_path / "3.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"3\.png is no readable image"):
        images[[7, 3, 19]]
