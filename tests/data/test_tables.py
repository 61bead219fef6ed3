import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from sklearn import datasets
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from transferlab import feeding, nodes
from transferlab.composing import Composer
from transferlab.data.cells import as_words
from transferlab.data.labels import ordered
from transferlab.data.samples import Splits
from transferlab.data.sklearn_sets import sklearn_set
from transferlab.data.table_files import table
from transferlab.data.tables import Encoding, Table
from transferlab.data.target import Target, train_and_test
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput

PLAIN = {
    "labels": "all",
    "imbalance": 1.0,
    "noise": 0.0,
    "missing_labels": 0.0,
    "missing_values": 0.0,
    "fitted_on": "target",
    "validation": 0.25,
    "folds": None,
    "fold": 0,
    "source_test": 0.0,
    "label_space": "same",
    "test": 0.25,
}
AS_IS = {"label": "kind", "numbers": False, "drop": [], "categorical": None, "missing": "mean", "scale": "none"}


def flowers(n=80, seed=0):
    """Two numbers, a category, a class; the rows' own numbers are the first column."""
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "row": np.arange(n),
            "size": draw.normal(3, 2, n).round(3),
            "colour": draw.choice(["red", "blue", "white"], n),
            "kind": np.arange(n) % 2,
        }
    )


@pytest.fixture
def read(tmp_path):
    def read(train, test=None, suffix="csv", **changed):
        for name, frame in (("train", train), ("test", test)):
            if frame is not None:
                file = tmp_path / f"{name}.{suffix}"
                frame.to_parquet(file) if suffix == "parquet" else frame.to_csv(file, index=False)
        given = str(tmp_path / f"test.{suffix}") if test is not None else None
        return table(str(tmp_path / f"train.{suffix}"), given, **{**AS_IS, **changed})

    return read


def encoded(part, width):
    return part.prepared(ArrayInput.of(width)).x


def parts_of(splits, seed=0, **changed):
    return Target(splits, **{**PLAIN, **changed}).parts(seed)


def rows(part):
    return part.frame["row"].astype(int).tolist()


@pytest.mark.parametrize(("scale", "scaler"), [("standard", StandardScaler()), ("minmax", MinMaxScaler())])
@pytest.mark.parametrize("seed", [0, 1])
def test_statistics_are_scikit_learns_of_exactly_the_training_rows(read, scale, scaler, seed):
    frame = flowers()
    parts = parts_of(read(frame, scale=scale), seed)
    numbers = frame[["row", "size"]].to_numpy(float)
    scaler.fit(numbers[rows(parts.train)])
    for part in (parts.train, parts.val, parts.test):
        found = encoded(part, 5)
        np.testing.assert_allclose(found[:, :2], scaler.transform(numbers[rows(part)]), rtol=1e-6, atol=1e-7)
        colours = frame["colour"].to_numpy()[rows(part)]
        np.testing.assert_array_equal(found[:, 2:], [[c == name for name in ("blue", "red", "white")] for c in colours])


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_other_rows_change_no_training_row_bit_for_bit(data):
    frame = flowers()
    parts = parts_of(as_read(frame))
    others = sorted({*rows(parts.val), *rows(parts.test)})
    changed = frame.astype({"size": float})
    for row in data.draw(st.lists(st.sampled_from(others), min_size=1, max_size=8, unique=True)):
        changed.loc[row, "size"] = data.draw(st.floats(-1e6, 1e6) | st.just(float("nan")))
        changed.loc[row, "colour"] = data.draw(st.sampled_from(["red", "green", "black"]))
    again = parts_of(as_read(changed))
    assert rows(again.train) == rows(parts.train)
    assert torch.equal(encoded(again.train, 5), encoded(parts.train, 5))


def as_read(frame):
    """What the reader makes of a frame, without a file."""
    inputs = pd.DataFrame(
        {"row": frame["row"].astype(float), "size": frame["size"].astype(float), "colour": as_words(frame["colour"])}
    )
    samples = Table(inputs, torch.from_numpy(frame["kind"].to_numpy(np.int64)), Encoding("mean", "standard", {}))
    return Splits(samples, None, ("0", "1"))


def test_a_category_that_only_the_test_split_has_is_all_zeros(read):
    train, test = flowers(), flowers(seed=1)
    test.loc[3, "colour"] = "green"
    parts = parts_of(read(train, test, drop=["row"]), validation=0.0)
    found = encoded(parts.test, 4)[:, 1:]
    assert found[3].tolist() == [0, 0, 0]
    assert (found.sum(1) == 1).sum() == 79


@pytest.mark.parametrize(
    ("missing", "filled"), [("mean", np.nanmean), ("median", np.nanmedian), ("most_frequent", lambda x: 3.0)]
)
def test_an_empty_cell_is_filled_by_what_the_training_rows_hold(read, missing, filled):
    train, test = flowers(), flowers(seed=1)
    train["size"] = train["size"].round(0)
    train.loc[train.index[:30], "size"] = 3
    train.loc[[2, 40], "size"], test.loc[[5], "size"] = np.nan, np.nan
    test.loc[[7], "colour"] = None
    parts = parts_of(read(train, test, missing=missing, drop=["row"]), validation=0.0)
    wanted = filled(train["size"].to_numpy())
    assert encoded(parts.train, 4)[[2, 40], 0].tolist() == pytest.approx([wanted] * 2)
    assert float(encoded(parts.test, 4)[5, 0]) == pytest.approx(wanted)
    assert encoded(parts.test, 4)[7, 1:].tolist() == [0, 0, 0]


def test_an_empty_cell_of_a_category_is_a_category_of_its_own(read):
    train = flowers()
    train.loc[[2, 40], "colour"] = None
    parts = parts_of(read(train, flowers(), drop=["row", "size"]), validation=0.0)
    found = encoded(parts.train, 4)
    assert found.sum(1).eq(1).all()
    assert found[:, 0].nonzero()[:, 0].tolist() == [2, 40]


def test_listed_categories_are_inputs_whichever_rows_train(read):
    listed = {"colour": ["white", "black", "red"]}
    for seed in range(3):
        parts = parts_of(read(flowers(), drop=["row", "size"], categorical=listed), seed, labels=1, validation=0.0)
        found, colours = encoded(parts.test, 3), parts.test.frame["colour"]
        np.testing.assert_array_equal(found, [[c == name for name in listed["colour"]] for c in colours])


def test_an_empty_cell_is_a_listed_category_where_null_is_listed(read):
    frame = flowers()
    frame.loc[[2, 40], "colour"] = None
    for listed, wanted in ((["red", "blue", "white"], None), (["red", None, "blue", "white"], 1)):
        parts = parts_of(read(frame, flowers(), categorical={"colour": listed}, drop=["row", "size"]), validation=0.0)
        found = encoded(parts.train, len(listed))
        assert found[[2, 40]].sum(0).tolist() == [2.0 * (column == wanted) for column in range(len(listed))]
        assert found.sum() == (80 if wanted else 78)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("odd", [[], [2.5], ["loft"], [None]], ids=str)
def test_a_number_is_one_category_however_a_file_writes_it(read, tmp_path, suffix, odd):
    floors = [1, 2, 10]
    train = flowers(12).assign(floor=floors * 4)
    # one more cell, of another kind, and the whole column is written or kept otherwise
    test = flowers(12).assign(floor=[*map(float, floors)] * 3 + [1.0, 2.0] + (odd or [10.0]))
    test = test.astype({"floor": object}) if odd == ["loft"] and suffix == "csv" else test
    if odd == ["loft"] and suffix == "parquet":
        test["floor"] = test["floor"].map(str)
    parts = parts_of(read(train, test, suffix, categorical=["floor"], drop=["row", "size", "colour"]), validation=0.0)
    wanted = [[number == floor for floor in ("1", "10", "2")] for number in ["1", "2", "10"] * 3 + ["1", "2"]]
    np.testing.assert_array_equal(encoded(parts.test, 3)[:11], wanted)
    assert encoded(parts.test, 3)[11].sum() == (not odd)
    listed = read(test, None, suffix, categorical={"floor": [1, 2.0, "10"]}, drop=["row", "size", "colour"])
    found = encoded(listed.train.fitted_on(listed.train), 3)[:11]
    np.testing.assert_array_equal(found, [[number == floor for floor in (1, 2, 10)] for number in floors * 3 + [1, 2]])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_na_and_none_are_names_of_classes_and_categories(read, suffix):
    frame = flowers().assign(kind=["NA", "None", "ant", "null"] * 20)
    frame["colour"] = frame["colour"].replace("red", "NA")
    frame.loc[[4, 8], "kind"] = None
    found = read(frame, suffix=suffix, drop=["row", "size"])
    assert (found.classes, found.unlabelled) == (("NA", "None", "ant", "null"), 2)
    assert set(found.train.frame["colour"]) == {"NA", "blue", "white"}


def test_among_numbers_na_is_a_missing_one(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,kind,y\n1,NA,x,2\nnan,2.5,z,N/A\nNULL,1e3,x,-1\n")
    found = table(str(tmp_path / "t.csv"), None, **{**AS_IS, "drop": ["y"]})
    nan = np.nan
    np.testing.assert_array_equal(found.train.frame.to_numpy(float), [[1, nan], [nan, 2.5], [nan, 1000]])
    predicted = table(str(tmp_path / "t.csv"), None, **{**AS_IS, "label": "y", "numbers": True, "drop": ["kind"]})
    np.testing.assert_array_equal(predicted.train.y.numpy(), np.array([2, nan, -1], np.float32))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_written_numbers_are_pandas_own_reading_bit_for_bit(tmp_path_factory, numbers):
    file = tmp_path_factory.mktemp("numbers") / "t.csv"
    pd.DataFrame({"a": numbers, "kind": "x"}).to_csv(file, index=False)
    found = table(str(file), None, **AS_IS).train.frame["a"]
    np.testing.assert_array_equal(found, pd.read_csv(file)["a"].astype(float))


def test_true_and_false_alone_are_1_and_0_and_classes_are_called_so(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,kind\nTrue,true,TRUE\nFalse,,false\n")
    found = table(str(tmp_path / "t.csv"), None, **AS_IS)
    assert found.train.frame["a"].tolist() == [1.0, 0.0]
    assert found.train.frame["b"].dtype == object  # with an empty cell they are words
    assert found.classes == ("False", "True")


def test_classes_that_are_one_number_have_one_order():
    assert ordered(["1", "2", "01", "-3", "001"]) == ("-3", "001", "01", "1", "2")


def test_csv_and_parquet_are_read_alike(read):
    frame = flowers()
    csv, parquet = (parts_of(read(frame, suffix=suffix)) for suffix in ("csv", "parquet"))
    assert csv.train.fingerprint() == parquet.train.fingerprint()
    assert torch.equal(encoded(csv.test, 5), encoded(parquet.test, 5))
    assert csv.classes == ("0", "1")


def test_classes_keep_their_names_in_the_order_of_numbers_or_letters(read):
    frame = flowers()
    assert read(frame.assign(kind=frame["kind"].map({0: "10", 1: "9"}))).classes == ("9", "10")
    assert read(frame.assign(kind=frame["kind"].map({0: "wasp", 1: "ant"}))).classes == ("ant", "wasp")


def test_rows_without_a_class_are_left_out_and_counted(read):
    frame = flowers().astype({"kind": float})
    frame.loc[[3, 4, 9], "kind"] = np.nan
    found = read(frame)
    assert found.unlabelled == 3
    assert found.classes == ("0", "1")  # not "0.0"
    assert not {3, 4, 9} & set(rows(found.train))
    assert parts_of(found).unlabelled == 3


def test_numbers_to_predict_may_be_missing_in_single_cells(read):
    frame = flowers()
    frame["a"], frame["b"] = frame["size"] * 2, 1.0
    frame.loc[4, "b"] = np.nan
    found = read(frame, label=["a", "b"], drop=["kind"])
    np.testing.assert_allclose(found.train.y.numpy(), frame[["a", "b"]].to_numpy(np.float32))
    assert found.classes == ("a", "b")
    one = read(frame, label="b", numbers=True, drop=["kind", "a"])
    assert (one.train.y.shape, one.classes, int(one.train.y.isnan().sum())) == ((80,), ("b",), 1)


def test_a_column_of_numbers_may_be_one_of_categories(read):
    frame = flowers()
    frame["zip"] = np.arange(80) % 3 * 1000
    parts = parts_of(read(frame, categorical=["zip", "colour"], drop=["row", "size"]))
    assert encoded(parts.train, 6).unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("spoil", "changed", "sentence"),
    [
        (None, {"label": "kid"}, "no column of .*train.csv 'kid'; did you mean 'kind'"),
        (None, {"drop": ["raw"]}, "no column of .*'raw'"),
        (None, {"categorical": ["raw"]}, "no column of .*'raw'"),
        (None, {"drop": ["row", "size", "colour"]}, "no columns but labels"),
        (None, {"missing": "men"}, "no target.data.missing 'men'; did you mean 'mean'"),
        (None, {"scale": "std"}, "no target.data.scale 'std'"),
        (None, {"categorical": []}, "row 1 has '.*' in column 'colour', which is no number"),
        (None, {"label": "colour", "numbers": True}, "column 'colour', which is no number"),
        (("size", np.inf), {}, "row 8 has 'inf' in column 'size'"),
        (("size", np.nan), {"missing": "refuse"}, "row 8 has nothing in column 'size'.*target.data.missing"),
    ],
    ids=str,
)
def test_an_unusable_table_is_refused_by_column_and_row(read, spoil, changed, sentence):
    frame = flowers()
    if spoil is not None:
        frame.loc[7, spoil[0]] = spoil[1]
    with pytest.raises(InputError, match=sentence):
        read(frame, **changed)


def test_a_test_split_that_does_not_fit_its_training_split_is_refused(read):
    frame = flowers()
    for test, sentence in (
        (frame.drop(columns="size"), "no column of .*test.csv 'size'"),
        (frame.assign(kind=7), r"test.csv has the classes \['7'\], which .*train.csv lacks: give them"),
        (frame.assign(size="big"), "test.csv, row 1 has 'big' in column 'size'"),
        (frame[:0], "test.csv holds no rows"),
    ):
        with pytest.raises(InputError, match=sentence):
            read(frame, test)


def test_files_that_are_no_tables_are_refused(tmp_path):
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "latin.csv").write_bytes("kind,größe\n0,1\n".encode("latin-1"))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "wide.csv").write_text("size,kind\n1,0,9\n2,1,9\n")
    for name, sentence in (
        ("broken.parquet", "cannot be read"),
        ("empty.csv", "cannot be read"),
        ("latin.csv", "cannot be read"),
        ("wide.csv", "rows with more cells than its header"),
        ("notes.txt", "ends in .csv or .parquet"),
        ("gone.csv", "there is no such file"),
    ):
        with pytest.raises(InputError, match=sentence):
            table(str(tmp_path / name), None, **AS_IS)


def test_the_sentence_says_how_many_inputs_the_encoded_columns_are(read):
    parts = parts_of(read(flowers()))
    with pytest.raises(InputError, match=r"are 5 inputs, .*shape=\[3\]: set backbone.input.shape=\[5\]"):
        parts.train.prepared(ArrayInput.of(3))


@pytest.mark.parametrize(("name", "rows", "columns"), [("iris", 150, 4), ("wine", 178, 13), ("breast_cancer", 569, 30)])
def test_a_table_of_scikit_learn_is_its_own(name, rows, columns):
    found, whole = sklearn_set(name, None, 0.3, "mean", "none"), getattr(datasets, f"load_{name}")()
    assert found.train.frame.shape == whole.data.shape == (rows, columns)
    np.testing.assert_array_equal(found.train.frame.to_numpy(), whole.data)
    np.testing.assert_array_equal(found.train.y.numpy(), whole.target)
    assert found.classes == tuple(whole.target_names)


def test_diabetes_has_a_number_to_predict():
    found = sklearn_set("diabetes", None, 0.3, "mean", "standard")
    np.testing.assert_array_equal(found.train.y.numpy(), datasets.load_diabetes().target.astype(np.float32))
    with pytest.raises(InputError, match="no classes"):
        sklearn_set("diabetes", [0], 0.3, "mean", "standard")


def test_a_class_that_two_choices_share_has_the_same_test_rows_in_both():
    source, target = (sklearn_set("iris", classes, 0.3, "mean", "none") for classes in ([0, 1], [1, 2]))
    assert (source.classes, target.classes) == (("setosa", "versicolor"), ("versicolor", "virginica"))

    def versicolor(splits, label):
        return [set(part.frame.index[part.y.numpy() == label]) for part in (splits.train, splits.test)]

    assert versicolor(source, 1) == versicolor(target, 0)
    # and they are those of the whole set
    whole = sklearn_set("iris", None, 0.3, "mean", "none")
    assert versicolor(target, 0)[1] == set(pd.Index(train_and_test(whole, 0.3)[1].frame.index)) & set(range(50, 100))


@pytest.mark.parametrize("classes", [[0, 3], [1, 1]])
def test_classes_that_are_not_there_are_refused(classes):
    with pytest.raises(InputError, match=r"classes=.*setosa, versicolor, virginica"):
        sklearn_set("iris", classes, 0.3, "mean", "none")


def test_a_target_may_be_encoded_by_what_its_source_says():
    source, target = (parts_of(sklearn_set("iris", classes, 0.3, "mean", "standard")) for classes in ([0, 1], [1, 2]))
    scaler = StandardScaler().fit(source.train.frame.to_numpy())
    fitted = target.fitted_on(source.train)
    for part in (fitted.train, fitted.val, fitted.test):
        np.testing.assert_allclose(encoded(part, 4), scaler.transform(part.frame.to_numpy()), rtol=1e-5, atol=1e-6)
    # the source's own rows are as they were
    assert torch.equal(encoded(source.train, 4), encoded(source.fitted_on(source.train).train, 4))


def test_tables_of_different_columns_are_not_encoded_by_one_another(read):
    iris = parts_of(sklearn_set("iris", None, 0.3, "mean", "none"))
    with pytest.raises(InputError, match=r"different columns or kinds of columns \(.*colour"):
        parts_of(read(flowers())).fitted_on(iris.train)


def test_a_run_is_encoded_by_what_its_sources_own_run_trained_on():
    def built(**changed):
        choices = {
            "source": "iris",
            "target": "iris",
            "source.pretrain.target.data.classes": "[0,1]",
            "target.data.classes": "[1,2]",
            "strategy": "partial",
            "seed": "3",
            **changed,
        }
        with Composer() as composer:
            whole = composer._check_job(choices)[0]
            ours = OmegaConf.masked_copy(whole, [key for key in whole if key != "hydra"])
            config = OmegaConf.create(OmegaConf.to_container(ours, resolve=True))
        return config, feeding.data(config, nodes.build(config.strategy))

    config, (parts, source) = built(**{"target.fitted_on": "source"})
    recipe = nodes.build(config.source.pretrain.target).parts(config.source.pretrain.seed)
    scaler = StandardScaler().fit(recipe.train.frame.to_numpy())
    for samples in (parts.train, parts.val, parts.test, source.train):
        wanted = scaler.transform(samples.frame.to_numpy())
        np.testing.assert_allclose(encoded(samples, 4), wanted, rtol=1e-5, atol=1e-6)
    # what the source trains or selects on is never tested on
    seen = {*recipe.train.frame.index, *recipe.val.frame.index, *source.train.frame.index}
    assert not seen & set(parts.test.frame.index)

    _, (parts, source) = built()
    wanted = StandardScaler().fit(parts.train.frame.to_numpy()).transform(source.train.frame.to_numpy())
    np.testing.assert_allclose(encoded(source.train, 4), wanted, rtol=1e-5, atol=1e-6)
