import numpy as np
import pandas as pd
import pytest
from PIL import Image

from transferlab.data.folder import image_folder
from transferlab.data.images import Cached, Images
from transferlab.data.manifest import image_manifest
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput

AS_IS = {
    "root": None,
    "file": "path",
    "label": "label",
    "numbers": False,
    "separator": None,
    "split": None,
    "in_memory": True,
}
NAMES = ["ant", "bee"] * 3


@pytest.fixture
def read(tmp_path):
    """Six images, the i-th of which has the red value i."""
    (tmp_path / "images").mkdir()
    for i in range(6):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "images" / f"{i}.png")

    def read(suffix="csv", columns=None, **changed):
        frame = pd.DataFrame({"path": [f"images/{i}.png" for i in range(6)], **(columns or {"label": NAMES})})
        file = tmp_path / f"list.{suffix}"
        frame.to_parquet(file) if suffix == "parquet" else frame.to_csv(file, index=False)
        return image_manifest(str(file), **{**AS_IS, **changed})

    return read


def reds(samples):
    x, _ = samples.prepared(ArrayInput.of(3, 8, 8))[range(len(samples))]
    return x[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(("in_memory", "kind"), [(True, Cached), (False, Images)])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_images_are_those_of_the_paths_with_their_rows_labels(read, suffix, in_memory, kind):
    found = read(suffix, in_memory=in_memory)
    assert isinstance(found.train, kind)
    assert reds(found.train) == list(range(6))
    assert found.train.y.tolist() == [0, 1] * 3
    assert (found.classes, found.test, found.unlabelled) == (("ant", "bee"), None, 0)


def test_a_manifest_of_a_folder_is_the_folder(read, tmp_path):
    for i, name in enumerate(NAMES):
        (tmp_path / "sorted" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "sorted" / name / f"{i}.png").write_bytes((tmp_path / "images" / f"{i}.png").read_bytes())
    folder = image_folder(str(tmp_path / "sorted"), None, None, True)
    paths = [name.removeprefix(f"{tmp_path}/") for name in folder.train.images.names]
    listed = read(columns={"label": ["ant"] * 3 + ["bee"] * 3, "where": paths}, file="where", root=str(tmp_path))
    assert listed.train.fingerprint() == folder.train.fingerprint()


def test_a_column_says_which_rows_test(read):
    found = read(columns={"label": NAMES, "part": ["train"] * 4 + ["test"] * 2}, split="part")
    assert (reds(found.train), reds(found.test)) == ([0, 1, 2, 3], [4, 5])


def test_rows_without_a_class_are_left_out_and_counted(read):
    found = read(columns={"label": ["ant", None, "bee", "", "ant", "bee"]})
    assert reds(found.train) == [0, 2, 4, 5]
    assert found.unlabelled == 2


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_na_and_none_are_names_of_classes(read, suffix):
    found = read(suffix, columns={"label": ["NA", None, "None", " NA ", "", "nan"]})
    assert (found.classes, found.unlabelled) == (("NA", "None", "nan"), 2)
    assert found.train.y.tolist() == [0, 1, 0, 2]


def test_several_columns_are_labels_of_which_some_are_missing(read):
    wings, legs = [0, 1, 0, 1, None, 1], [1, 1, None, 0, 0, 0]
    found = read(columns={"wings": wings, "legs": legs}, label=["wings", "legs"])
    np.testing.assert_array_equal(found.train.y.numpy(), np.array([wings, legs], dtype=np.float32).T)
    assert found.classes == ("wings", "legs")


def test_a_cell_may_name_several_labels(read):
    found = read(columns={"label": ["ant", "ant|bee", "bee | wasp", None, "wasp", "ant"]}, separator="|")
    assert found.classes == ("ant", "bee", "wasp")
    gone = [np.nan] * 3
    np.testing.assert_array_equal(found.train.y.numpy(), [[1, 0, 0], [1, 1, 0], [0, 1, 1], gone, [0, 0, 1], [1, 0, 0]])
    assert found.unlabelled == 0


def test_a_column_may_hold_numbers_to_predict(read):
    found = read(columns={"label": [0.5, 1, None, 3, 4, 5]}, numbers=True)
    np.testing.assert_array_equal(found.train.y.numpy(), np.array([0.5, 1, np.nan, 3, 4, 5], dtype=np.float32))
    assert found.classes == ("label",)


HALVES = ["train"] * 4 + ["test"] * 2


@pytest.mark.parametrize(
    ("columns", "changed", "sentence"),
    [
        (None, {"label": "lable"}, "no column of .*list.csv 'lable'; did you mean 'label'"),
        (None, {"file": "file"}, "no column of .*'file'"),
        (None, {"root": "gone"}, "row 1: there is no file gone/images/0.png; correct the row or set root"),
        ({"label": NAMES, "part": ["train", "val"] * 3}, {"split": "part"}, "row 2: column 'part' says 'val'"),
        ({"label": NAMES, "part": ["train", None] * 3}, {"split": "part"}, "row 2 has nothing in column 'part'"),
        ({"label": ["a", "b", "a", "b", "a", "c"], "part": HALVES}, {"split": "part"}, r"the classes \['c'\], which"),
        (
            {"label": ["a", "b", "a", "b", "a", "b|c"], "part": HALVES},
            {"split": "part", "separator": "|"},
            r"the classes \['c'\], which its training split lacks",
        ),
        ({"label": NAMES, "part": ["test"] * 6}, {"split": "part"}, "the classes"),
        ({"label": [None] * 6}, {}, "no labelled files"),
        ({"label": NAMES}, {"numbers": True}, "row 1 has 'ant' in column 'label', which is no number"),
    ],
    ids=str,
)
def test_an_unusable_manifest_is_refused_by_its_row(read, columns, changed, sentence):
    with pytest.raises(InputError, match=sentence):
        read(columns=columns, **changed)


def test_an_image_of_other_channels_is_named(read, tmp_path):
    for i in range(6):
        if i != 4:
            Image.new("L", (8, 8), i).save(tmp_path / "images" / f"{i}.png")
    with pytest.raises(InputError, match=r"4.png: the images have 3 channels, .* takes 1"):
        read().train.prepared(ArrayInput.of(1, 8, 8)).decode()
    assert len(read().train.prepared(ArrayInput.of(3, 8, 8))) == 6  # grey is repeated
