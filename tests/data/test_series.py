"""Series are what their files say, gaps are filled as asked, and what cannot be read is named."""

import json

import numpy as np
import pytest
import torch

from transferlab import cli
from transferlab.data.ragged import Ragged
from transferlab.data.series import Series, filled, fitted
from transferlab.data.series_npz import series_npz
from transferlab.data.ts_file import ts_file
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.series import SeriesInput

NAN = float("nan")


def as_read(samples, index):
    """One series (T, C) and its label."""
    x, y = samples[[index]]
    return x.h[0][x.mask[0]], y[0]


def series(*lengths, channels=2):
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.normal(size=(length, channels))).float() for length in lengths]


def samples(*lengths, channels=2):
    return Series(Ragged.of(series(*lengths, channels=channels), torch.arange(len(lengths))))


# what was not measured


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("zero", [[0, 1], [2, 0], [0, 0], [4, 3]]),
        ("forward", [[2, 1], [2, 1], [2, 1], [4, 3]]),
    ],
)
def test_missing_steps_are_filled_as_asked(missing, expected):
    x = np.array([[NAN, 1], [2, NAN], [NAN, NAN], [4, 3]])
    np.testing.assert_array_equal(filled(x, missing, "it"), expected)
    assert np.isnan(x).sum() == 4  # what was read stays


def test_a_channel_that_was_never_measured_is_zero():
    assert filled(np.array([[NAN, 1.0], [NAN, 2.0]]), "forward", "it").tolist() == [[0, 1], [0, 2]]


def test_a_series_without_gaps_is_itself_whatever_is_asked():
    x = np.ones((3, 2))
    assert all(filled(x, missing, "it") is x for missing in ("refuse", "zero", "forward"))


@pytest.mark.parametrize(
    ("x", "missing", "sentence"),
    [
        ([[1.0], [NAN]], "refuse", "own.npz has no number at step 1; set target.data.missing=zero or forward"),
        ([[1.0], [np.inf]], "zero", "own.npz is infinite at step 1"),
        ([[1.0]], "backward", r"no target.data.missing 'backward'.*refuse, zero, forward"),
    ],
)
def test_what_cannot_be_filled_is_refused_by_its_step(x, missing, sentence):
    with pytest.raises(InputError, match=sentence):
        filled(np.array(x), missing, "own.npz")


# brought to a backbone


def test_a_resampled_series_is_numpys_linear_interpolation():
    (x,) = series(7)
    for length in (1, 2, 4, 7, 20):
        at = np.linspace(0, 6, length) if length > 1 else np.zeros(1)
        expected = np.stack([np.interp(at, np.arange(7), channel) for channel in x.T.numpy()], 1)
        np.testing.assert_allclose(fitted(x, length, "resample").numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_cropped_series_keeps_its_first_steps_and_a_short_one_stays():
    x = series(7, 3)
    prepared = samples(7, 3).prepared(SeriesInput(2, 5, "crop", "none"))
    batch, y = prepared[[0, 1]]
    assert batch.mask.sum(1).tolist() == [5, 3] and y.tolist() == [0, 1]
    assert torch.equal(batch.h[0], x[0][:5]) and torch.equal(batch.h[1, :3], x[1])


def test_prepared_series_have_the_length_that_the_backbone_takes_or_their_own():
    assert samples(7, 3, 1).prepared(SeriesInput(2, 5, "resample", "none")).lengths.tolist() == [5, 5, 5]
    assert samples(7, 3, 1).prepared(SeriesInput(2, None, "resample", "none")).lengths.tolist() == [7, 3, 1]


def test_series_can_be_taken_relabelled_and_told_apart():
    held = samples(7, 3, 5)
    taken = held.take(torch.tensor([2, 0]))
    assert torch.equal(as_read(taken, 0)[0], series(7, 3, 5)[2]) and taken.y.tolist() == [2, 0]
    assert held.relabelled(torch.zeros(3)).y.tolist() == [0, 0, 0]
    prints = {held.fingerprint(), taken.fingerprint(), held.relabelled(torch.zeros(3)).fingerprint()}
    assert len(prints) == 3 and samples(7, 3, 5).fingerprint() in prints


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (ArrayInput.of(1, 8, 8), "the backbone takes images, the data are series: choose .*backbone=lstm"),
        (SeriesInput(3, None, "crop", "none"), "have 2 channels, backbone.input.channels=3; set .*channels=2"),
    ],
)
def test_a_backbone_for_other_data_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(InputError, match=sentence):
        samples(4, 3).prepared(given)


# .npz


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "own.npz", **arrays)
        return str(tmp_path / "own.npz")

    return save


X = np.arange(24, dtype=np.float64).reshape(4, 6)
Y = np.array([0, 1, 0, 1])


@pytest.mark.parametrize("kind", ["float64", "float32", "int16", "uint8", "bool"])
def test_series_of_an_npz_are_time_before_channels(saved, kind):
    x = (X % 2 if kind == "bool" else X).astype(kind)
    read = series_npz(saved(x_train=x, y_train=Y, x_test=x[:2], y_test=Y[:2]), "refuse")
    assert torch.equal(as_read(read.train, 1)[0], torch.from_numpy(x[1].astype(np.float32))[:, None])
    assert (len(read.train), len(read.test), read.classes) == (4, 2, ("0", "1"))
    cube = series_npz(saved(x_train=x.reshape(4, 3, 2), y_train=Y, classes=["a", "b"]), "refuse")
    assert as_read(cube.train, 3)[0].tolist() == x[3].reshape(3, 2).astype(float).tolist()
    assert (cube.test, cube.classes) == (None, ("a", "b"))


def test_lengths_of_an_npz_say_which_steps_are_real(saved):
    x = X.copy()
    x[1, 2:] = NAN  # padding is never looked at
    read = series_npz(saved(x_train=x, y_train=Y, lengths_train=[6, 2, 1, 6]), "refuse")
    assert [len(as_read(read.train, place)[0]) for place in range(4)] == [6, 2, 1, 6]


def test_missing_steps_of_an_npz_are_filled(saved):
    x = np.where(X == 8, NAN, X)
    assert as_read(series_npz(saved(x_train=x, y_train=Y), "forward").train, 1)[0][:, 0].tolist()[:4] == [6, 7, 7, 9]


def test_series_of_an_npz_without_a_class_are_left_out_and_counted(saved):
    read = series_npz(
        saved(x_train=X, y_train=Y * 2 - 1, lengths_train=[1, 2, 3, 4], x_test=X, y_test=[0, 1, -1, 1]), "refuse"
    )
    assert (read.train.y.tolist(), read.test.y.tolist(), read.unlabelled) == ([1, 1], [0, 1, 1], 3)
    assert [len(as_read(read.train, place)[0]) for place in range(2)] == [2, 4]


def test_floats_of_an_npz_are_numbers_to_predict(saved):
    one = series_npz(saved(x_train=X, y_train=np.array([0.5, NAN, 1, 2])), "refuse")
    assert one.train.y.dtype == torch.float32 and one.train.y.isnan().tolist() == [False, True, False, False]
    assert len(one.classes) == 1
    assert len(series_npz(saved(x_train=X, y_train=np.ones((4, 3))), "refuse").classes) == 3


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x_train": X}, r"no array 'y_train' \(it has: x_train\)"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "no array 'y_test'"),
        ({"x_train": X, "y_train": Y[:3]}, "x_train holds 4 series, y_train 3 labels"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "x_train holds 0 series"),
        ({"x_train": X[0], "y_train": Y}, r"x_train is float64 \(6,\); series are numbers, \(N, T\)"),
        ({"x_train": X.astype(str), "y_train": Y}, "x_train is <U"),
        ({"x_train": X.astype(object), "y_train": Y}, "is no .npz or HDF5 file of plain numbers"),
        ({"x_train": X, "y_train": Y.astype(str)}, "y_train is <U.*classes are integers from 0"),
        ({"x_train": X, "y_train": Y[:, None]}, r"y_train is int64 \(4, 1\)"),
        ({"x_train": X, "y_train": Y - 2}, "y_train: series 0 is of class -2, outside"),
        ({"x_train": X, "y_train": Y * 0 - 1}, "y_train is -1 everywhere"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "y_test: series 1 is of class 2, outside 0..1"),
        ({"x_train": np.where(X == 8, NAN, X), "y_train": Y}, "series 1 of x_train has no number at step 2"),
        ({"x_train": np.where(X == 8, np.inf, X), "y_train": Y}, "series 1 of x_train is infinite at step 2"),
        ({"x_train": X, "y_train": Y, "lengths_train": [6, 0, 6, 6]}, "series 1 has 0 steps, outside 1..6"),
        ({"x_train": X, "y_train": Y, "lengths_train": [6, 6, 6, 7]}, "series 3 has 7 steps, outside 1..6"),
        ({"x_train": X, "y_train": Y, "lengths_train": [6.0] * 4}, "lengths_train is float64"),
        ({"x_train": X, "y_train": Y, "lengths_train": [6, 6]}, "lengths_train is int64 .2,.; it has one whole number"),
        (
            {"x_train": X[..., None], "y_train": Y, "x_test": X.reshape(4, 3, 2), "y_test": Y},
            "test split has 2 channels, its training split 1",
        ),
        ({"x_train": X[:, :0], "y_train": Y}, "series 0 of x_train has no steps"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unusable_npz_is_refused_by_its_fault(saved, arrays, sentence):
    with pytest.raises(InputError, match=sentence):
        series_npz(saved(**arrays), "refuse")


def test_no_file_and_no_npz_are_refused(tmp_path):
    (tmp_path / "own.npz").write_text("x")
    for path, sentence in ((tmp_path / "none.npz", "there is no such file"), (tmp_path / "own.npz", "is no .npz")):
        with pytest.raises(InputError, match=sentence):
            series_npz(str(path), "refuse")


# .ts

HEADER = """#made for a test
@problemName Waves
@timeStamps false
@missing true
@univariate false
@dimensions 2
@equalLength false
@classLabel true slow fast
@data
"""
LINES = ["1,2,3:4,5,6:slow", "", "7.5, ?:-1e2,8:fast", "# a remark", "9:NaN:slow"]


@pytest.fixture
def written(tmp_path):
    def write(lines, header=HEADER, name="W_TRAIN.ts"):
        (tmp_path / name).write_text(header + "\n".join(lines) + "\n")
        return str(tmp_path / name)

    return write


def test_a_ts_file_is_channels_by_colons_steps_by_commas_and_last_the_label(written):
    read = ts_file(written(LINES), None, "zero")
    found = [as_read(read.train, place) for place in range(3)]
    assert [x.tolist() for x, _ in found] == [[[1, 4], [2, 5], [3, 6]], [[7.5, -100], [0, 8]], [[9, 0]]]
    assert [int(y) for _, y in found] == [0, 1, 0]
    assert (read.classes, read.test) == (("slow", "fast"), None)


def test_a_ts_file_may_have_a_test_file_beside_it_with_its_classes_in_another_order(written):
    other = HEADER.replace("slow fast", "fast slow")
    read = ts_file(written(LINES), written(["1:2:fast", "1,2:3,4:slow"], other, "W_TEST.ts"), "zero")
    assert read.test.y.tolist() == [1, 0]


def test_classes_that_no_header_lists_are_those_of_training_in_order(written):
    header = HEADER.replace("@classLabel true slow fast", "@classlabel TRUE")
    assert ts_file(written(LINES, header), None, "zero").classes == ("fast", "slow")


@pytest.mark.parametrize("classes", [" slow fast", ""])
def test_series_of_a_ts_file_without_a_class_are_left_out_and_counted(written, classes):
    header = HEADER.replace(" slow fast", classes)
    test = written(["5:5:?", "1:2:fast"], header, "W_TEST.ts")
    read = ts_file(written(["1,2:3,4:?", *LINES], header), test, "zero")
    assert (sorted(read.classes), read.unlabelled) == (["fast", "slow"], 2)
    assert [len(as_read(read.train, place)[0]) for place in range(3)] == [3, 2, 1]
    assert read.test.y.tolist() == [read.classes.index("fast")]
    called = HEADER.replace("slow fast", "slow fast ?")
    assert ts_file(written([*LINES, "1:2:?"], called), None, "zero").train.y.tolist() == [0, 1, 0, 2]


def test_a_ts_file_may_have_numbers_to_predict(written):
    header = HEADER.replace("@classLabel true slow fast", "@targetLabel true")
    read = ts_file(written(["1:2:0.5", "3:4:-7", "3:4:?"], header), None, "refuse")
    torch.testing.assert_close(read.train.y, torch.tensor([0.5, -7, NAN]), equal_nan=True)
    assert read.classes == ("target",)


@pytest.mark.parametrize(
    ("lines", "header", "sentence"),
    [
        (["1,2:3,?:slow"], HEADER, "line 10 has no number at step 1"),
        (["1,2:3,4:slow", "1,2:3:fast"], HEADER, "line 11: its channels have 1 and 2 steps"),
        (["1,2:3,4:slow", "1,2:fast"], HEADER, "line 11 has 1 channels, .*line 10 has 2"),
        (["1,2:3,4:slow", "1,x:3,4:fast"], HEADER, "line 11: could not convert string to float: 'x'"),
        (["1,2:3,4"], HEADER, "line 10 has no label behind its last colon"),
        (["1,2:3,4:"], HEADER, "line 10 has no label behind its last colon"),
        (["slow"], HEADER, "line 10 has no label behind its last colon"),
        ([":slow"], HEADER, "line 10 has no steps"),
        (["1,2:3,4:medium"], HEADER, r"line 10: class 'medium' is none of .*\(slow, fast\)"),
        ([], HEADER, "holds no series"),
        (["1:2:?"], HEADER, "has no series with a class"),
        (LINES, "", "has no line '@data'"),
        (LINES, HEADER.replace("true slow fast", "false"), "has no labels: its header says neither"),
        (LINES, HEADER.replace("@classLabel true slow fast\n", ""), "has no labels"),
        (LINES, HEADER.replace("@timeStamps false", "@timeStamps true"), "has time stamps"),
        (
            ["1:2:soon"],
            HEADER.replace("@classLabel true slow fast", "@targetLabel true"),
            "the label is to be a number",
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) and "@" not in value else "",
)
def test_an_unusable_ts_file_is_refused_by_line_and_fault(written, lines, header, sentence):
    with pytest.raises(InputError, match=sentence):
        ts_file(written(lines, header), None, "refuse")


@pytest.mark.parametrize(
    ("train", "test", "sentence"),
    [
        (["1:2:slow"], ["1:2:fast"], "W_TEST.ts, line 10: class 'fast' has no series in the training file"),
        (["1:2:slow"], ["1:2:new"], "W_TEST.ts, line 10: class 'new' is none of the training file's"),
        (["1:2:slow"], ["1:slow"], "W_TEST.ts, line 10 has 1 channels, .*W_TRAIN.ts, line 10 has 2"),
    ],
)
def test_a_test_file_that_does_not_fit_its_training_file_is_refused(written, train, test, sentence):
    with pytest.raises(InputError, match=sentence):
        ts_file(written(train), written(test, name="W_TEST.ts"), "refuse")


def test_no_file_and_no_text_are_refused(tmp_path, written):
    (tmp_path / "bytes.ts").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is no text, so no"):
        ts_file(str(tmp_path / "bytes.ts"), None, "refuse")
    with pytest.raises(InputError, match=r"target.data.path=.*none.ts: there is no such file"):
        ts_file(str(tmp_path / "none.ts"), None, "refuse")
    with pytest.raises(InputError, match=r"target.data.test=.*none.ts: there is no such file"):
        ts_file(written(LINES), str(tmp_path / "none.ts"), "zero")


# through the command


def waves(count, seed):
    """Two frequencies in one channel, noise in the other; lengths differ, and a step is missing."""
    rng, lines = np.random.default_rng(seed), []
    for number in range(count):
        steps = np.arange(rng.integers(12, 30))
        wave = np.sin((0.3, 0.9)[number % 2] * steps + rng.uniform(0, 6)) + 0.2 * rng.normal(size=len(steps))
        words = [f"{value:.3f}" for value in wave]
        words[3] = "?"
        noise = ",".join(f"{value:.3f}" for value in rng.normal(size=len(steps)))
        lines.append(f"{','.join(words)}:{noise}:{('slow', 'fast')[number % 2]}")
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["lstm", "bilstm", "gru", "conv1d"])
def test_nets_for_series_learn_two_frequencies(backbone, written, tmp_path):
    train, test = written(waves(80, 0)), written(waves(60, 1), name="W_TEST.ts")
    data = ["target=ts_file", f"target.data.path={train}", f"target.data.test={test}", "target.data.missing=forward"]
    size = "backbone.widths=[8,16]" if backbone == "conv1d" else "backbone.hidden=32"
    net = [f"backbone={backbone}", "backbone.input.channels=2", size, "optimizer=adam", "optimizer.lr=0.01"]
    run = ["source=none", "strategy=scratch", "trainer.max_epochs=20", "trainer.accelerator=cpu", "tracker=none"]
    assert cli.main(["train", *data, *net, *run, f"paths.runs={tmp_path}"]) == 0
    (file,) = tmp_path.glob("default/*/run.json")
    record = json.loads(file.read_text())
    # 60 fair guesses reach 45 once in 20,000
    assert record["metrics"]["selected"]["test/accuracy"] >= 0.75
    assert record["cost"]["flops"] > 0
