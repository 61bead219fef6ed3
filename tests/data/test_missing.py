import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transferlab.data.missing import without_labels, without_values
from transferlab.data.parts import describe
from transferlab.data.ragged import Ragged
from transferlab.data.ratings import Ratings
from transferlab.data.samples import InMemory, Splits
from transferlab.data.series import Series
from transferlab.data.sklearn_sets import sklearn_set
from transferlab.data.target import Target
from transferlab.data.text import Corpus, Texts
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.ids import IdsInput
from transferlab.inputs.series import SeriesInput
from transferlab.inputs.text import TextInput

NAMES = ("ant", "bee", "cat")
PLAIN = {
    "labels": "all",
    "imbalance": 1.0,
    "noise": 0.0,
    "missing_labels": 0.0,
    "missing_values": 0.0,
    "fitted_on": "target",
    "validation": 0.2,
    "folds": None,
    "fold": 0,
    "source_test": 0.0,
    "label_space": "same",
    "test": 0.3,
}


def parts(x, y, classes=NAMES, seed=0, test=None, **settings):
    return Target(Splits(InMemory(x, y), test, classes), **{**PLAIN, **settings}).parts(seed)


def numbered(n):
    return torch.arange(1, n + 1).float()[:, None]


CLASSES = torch.arange(90) % 3


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_samples_whose_class_is_hidden_leave_the_training_part_alone(share):
    whole, less = (parts(numbered(90), CLASSES, missing_labels=hidden) for hidden in (0.0, share))
    # 90 - 27 tested - 12 selected on leaves 17 a class
    assert less.train.y.bincount().tolist() == [17 - round(share * 17)] * 3
    assert set(less.train.x.flatten().tolist()) < set(whole.train.x.flatten().tolist())
    assert torch.equal(less.val.x, whole.val.x)
    assert torch.equal(less.test.x, whole.test.x)
    assert less.labels_seen == len(less.train) + len(less.val)


def test_fewer_hidden_classes_are_among_more():
    few, many = (parts(numbered(90), CLASSES, missing_labels=share) for share in (0.2, 0.6))
    assert set(many.train.x.flatten().tolist()) < set(few.train.x.flatten().tolist())


def test_hiding_all_labels_of_a_class_is_refused():
    with pytest.raises(InputError, match=r"missing_labels=0\.9 leaves class 'ant' no label"):
        parts(numbered(90), CLASSES, labels=4, missing_labels=0.9)
    with pytest.raises(InputError, match=r"missing_labels=1\.0: a share in \[0, 1\)"):
        parts(numbered(90), CLASSES, missing_labels=1.0)


@given(st.integers(1, 40), st.integers(1, 4), st.floats(0, 0.99), st.integers(0, 5))
def test_the_share_of_the_known_labels_is_hidden_and_no_other_changed(samples, outputs, share, seed):
    draw = np.random.default_rng(seed)
    y = torch.from_numpy(draw.random((samples, outputs)).astype(np.float32))
    y[torch.from_numpy(draw.random(y.shape) < 0.2)] = torch.nan
    known = ~y.isnan()
    try:
        left = without_labels(y, share, np.random.default_rng(seed))
    except InputError:  # an output without labels
        return
    assert int((~left.isnan()).sum()) == int(known.sum()) - round(share * int(known.sum()))
    stay = ~left.isnan()
    assert torch.equal(left[stay], y[stay])
    assert not y.isnan()[stay].any()


@pytest.mark.parametrize("y", [torch.linspace(0, 1, 90), torch.eye(3).repeat(30, 1)], ids=["number", "multi-label"])
def test_numbers_and_columns_of_labels_are_hidden_in_training_alone(y):
    whole, less = (parts(numbered(90), y, NAMES[: y[0].numel()], missing_labels=hidden) for hidden in (0, 0.4))
    assert len(less.train) == len(whole.train)
    assert int(less.train.y.isnan().sum()) == round(0.4 * whole.train.y.numel())
    assert torch.equal(less.val.y, whole.val.y)
    assert torch.equal(less.test.y, whole.test.y)


def test_hidden_labels_depend_on_the_seed_alone_and_show_in_the_fingerprint():
    def found(seed, share=0.4):
        return describe(parts(numbered(90), torch.eye(3).repeat(30, 1), seed=seed, missing_labels=share))

    assert found(1) == found(1)
    assert found(1)["fingerprints"]["train"] != found(1, 0.0)["fingerprints"]["train"]


def test_labels_of_pixels_are_not_hidden():
    with pytest.raises(InputError, match="about classes, numbers and columns of labels"):
        parts(torch.zeros(90, 1, 2, 2), torch.zeros(90, 2, 2).long(), missing_labels=0.1)


IMAGES = torch.full((90, 3, 8, 8), 200, dtype=torch.uint8)


def test_pixels_are_hidden_with_all_their_channels_in_every_part():
    found = parts(IMAGES, CLASSES, missing_values=0.3)
    for part in (found.train, found.val, found.test):
        x = part.prepared(ArrayInput.of(3, 8, 8)).x
        assert set(x.unique().tolist()) == {0, 200}
        assert (x.amin(1) == x.amax(1)).all()
        assert float((x == 0).float().mean()) == pytest.approx(0.3, abs=0.05)


def test_what_is_hidden_of_a_sample_depends_neither_on_seed_nor_budget():
    # images whose red names the sample where it is not hidden, of 5 x 10 pixels
    x = torch.full((90, 3, 5, 10), 200, dtype=torch.uint8)
    x[:, 0] = torch.arange(1, 91, dtype=torch.uint8)[:, None, None]

    def held(**settings):
        found = parts(x, CLASSES, missing_values=0.5, **settings)
        both = [part.prepared(ArrayInput.of(3, 5, 10)).x for part in (found.train, found.val, found.test)]
        return {int(image[0].max()): image for image in torch.cat(both)}

    first, other = held(seed=0), held(seed=3, labels=8)
    common = set(first) & set(other)
    assert len(common) > 10
    assert all(torch.equal(first[row], other[row]) for row in common)


def test_cells_of_tables_in_arrays_are_not_made_zero():
    with pytest.raises(InputError, match="target=table fills them"):
        parts(numbered(90), CLASSES, missing_values=0.5).train.prepared(ArrayInput.of(1))


def test_nothing_hidden_leaves_the_set_itself():
    data = Splits(InMemory(IMAGES, CLASSES), None, NAMES)
    assert without_values(data, 0.0) is data
    for share in (-0.1, 1.0):
        with pytest.raises(InputError, match=r"target.missing_values=.*\[0, 1\)"):
            without_values(data, share)


def test_missing_values_show_in_the_fingerprint():
    prints = {parts(IMAGES, CLASSES, missing_values=share).train.fingerprint() for share in (0.0, 0.1, 0.2)}
    assert len(prints) == 3


def test_empty_cells_of_a_table_are_filled_by_the_training_rows_that_are_left():
    found = Target(sklearn_set("iris", None, 0.3, "mean", "none"), **{**PLAIN, "missing_values": 0.3}).parts(0)
    for part in (found.train, found.val, found.test):
        assert float(part.frame.isna().to_numpy().mean()) == pytest.approx(0.3, abs=0.15)
        filled = part.frame.fillna(found.train.frame.mean())
        np.testing.assert_allclose(part.prepared(ArrayInput.of(4)).x, filled.to_numpy(np.float32), rtol=1e-6)


def test_a_table_that_refuses_empty_cells_hides_none():
    with pytest.raises(InputError, match=r"set target\.data\.missing"):
        without_values(sklearn_set("iris", None, 0.3, "refuse", "none"), 0.1)


def test_steps_of_a_series_become_zero_with_all_their_channels():
    lengths = [3 + i % 5 for i in range(60)]
    held = Ragged.of([torch.ones(n, 2) for n in lengths], torch.arange(60) % 3)
    data = without_values(Splits(Series(held), None, NAMES), 0.4)
    found = data.train.prepared(SeriesInput(2, None, "crop", "none"))
    assert found.lengths.tolist() == lengths
    assert torch.equal(found.steps[:, 0], found.steps[:, 1])
    assert float((found.steps == 0).float().mean()) == pytest.approx(0.4, abs=0.1)


def test_tokens_are_left_out_between_the_first_and_the_last():
    texts = [" ".join(f"w{i}x{j}" for j in range(20)) for i in range(30)]
    corpus = Corpus(texts, None, str, None)
    words = TextInput("words", 50_000, 64)
    held = Texts.of(corpus, torch.arange(30) % 3)
    less = without_values(Splits(held, None, NAMES), 0.5).train.prepared(words)
    for one, whole in zip(
        torch.split(less.steps, less.lengths.tolist()), [words.ids([text])[0] for text in texts], strict=True
    ):
        assert (one[0], one[-1]) == (whole[0], whole[-1])
        assert set(one.tolist()) < set(whole.tolist())
    assert float(less.lengths.float().mean()) == pytest.approx(2 + 9, abs=2)


def test_what_lies_in_files_is_hidden_a_batch_at_a_time_just_as_in_memory(tmp_path):
    from PIL import Image

    from transferlab.data.folder import image_folder

    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(4):
            Image.new("RGB", (8, 8), (100 + i, 90, 80)).save(tmp_path / label / f"{i}.png")
    memory, files = (
        without_values(image_folder(str(tmp_path), None, None, kept), 0.4).train.prepared(ArrayInput.of(3, 8, 8))
        for kept in (True, False)
    )
    assert isinstance(memory, InMemory)
    assert not isinstance(files, InMemory)
    assert torch.equal(files[[5, 2]][0], memory[[5, 2]][0])
    assert torch.equal(files.take(torch.tensor([3, 5]))[[1]][0], memory[[5]][0])
    assert (memory.x == 0).any()


def test_ids_of_users_and_items_cannot_be_missing():
    held = Ratings(torch.zeros(5, 2, dtype=torch.int64), torch.ones(5), 1, 1, np.zeros((5, 1), np.uint64))
    with pytest.raises(InputError, match="ids, of which none can be missing"):
        without_values(Splits(held, None, ("stars",)), 0.1).train.prepared(IdsInput(1, 1))
