"""The reader of published histograms: the files as they are, and what is wrong with another."""

import numpy as np
import pytest
from scipy.io import savemat

from transferlab.data.surf import office_caltech10_surf
from transferlab.errors import InputError


def test_labels_are_counted_from_nought_and_counts_stay_counts(tmp_path):
    counts = np.arange(12, dtype=np.uint8).reshape(3, 4)
    savemat(tmp_path / "Caltech10_SURF_L10.mat", {"fts": counts, "labels": np.array([[10], [1], [3]], np.uint8)})
    splits = office_caltech10_surf(str(tmp_path), "caltech10")
    assert splits.train.x.tolist() == counts.tolist()
    assert splits.train.y.tolist() == [9, 0, 2]
    assert (splits.classes[0], splits.classes[9], splits.test) == ("backpack", "projector", None)


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"fts": np.ones((2, 4)), "labels": np.array([[1], [11]])}, "the label of sample 1 is 10, outside 0..9"),
        ({"fts": np.ones((2, 4))}, "is no MATLAB file with 'fts' and 'labels'"),
        ({"fts": np.full((1, 4), np.nan), "labels": np.array([[1]])}, "sample 0 holds NaN"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, contents, said):
    savemat(tmp_path / "dslr_SURF_L10.mat", contents)
    with pytest.raises(InputError, match=said):
        office_caltech10_surf(str(tmp_path), "dslr")


def test_a_domain_or_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="did you mean 'webcam'"):
        office_caltech10_surf(str(tmp_path), "webcams")
    with pytest.raises(InputError, match=r"there is no file .*amazon_SURF_L10\.mat"):
        office_caltech10_surf(str(tmp_path), "amazon")
    (tmp_path / "amazon_SURF_L10.mat").write_bytes(b"no MATLAB file at all, but long enough to be one" * 9)
    with pytest.raises(InputError, match="is no MATLAB file"):
        office_caltech10_surf(str(tmp_path), "amazon")


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("amazon", [92, 82, 94, 99, 100, 100, 99, 100, 94, 98]),
        ("caltech10", [151, 110, 100, 138, 85, 128, 133, 94, 87, 97]),
        ("webcam", [29, 21, 31, 27, 27, 30, 43, 30, 27, 30]),
    ],
)
def test_the_published_files_have_as_many_samples_as_there_are_photographs(real_data, name, counts):
    splits = office_caltech10_surf(str(real_data / "office_caltech10_surf"), name)
    assert splits.train.x.shape == (sum(counts), 800)
    assert splits.train.y.bincount().tolist() == counts
    assert (splits.train.x == splits.train.x.round()).all()


def test_the_camera_has_157(real_data):
    assert len(office_caltech10_surf(str(real_data / "office_caltech10_surf"), "dslr").train) == 157
