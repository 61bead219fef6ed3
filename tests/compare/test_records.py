import json
import shutil

import pytest

from transferlab.compare.records import find, load
from transferlab.errors import InputError

METRIC = "test/accuracy"


def reasons(study):
    return {path: reason for path, reason in study.left_out}


def test_a_row_holds_what_the_record_says_of_the_selected_epoch(tmp_path, write_run):
    folder = write_run("l2_sp", 3, 0.75, source="mnist", target="usps", backbone="mlp", parameters=42, seconds=9.5)
    record = json.loads((folder / "run.json").read_text())
    record["metrics"]["last"]["test/accuracy"] = 0.1
    (folder / "run.json").write_text(json.dumps(record))
    study = load([tmp_path / "runs" / "s"], METRIC)
    assert study.runs.to_dict("records") == [
        {
            "source": "mnist",
            "target": "usps",
            "backbone": "mlp",
            "strategy": "l2_sp",
            "seed": 3,
            "score": 0.75,
            "trainable_parameters": 42,
            "seconds": 9.5,
        }
    ]
    assert study.left_out == ()
    assert study.folder == tmp_path / "runs" / "s"


def test_the_metric_asked_for_is_the_score(tmp_path, write_run):
    write_run(score=0.8)
    assert load([tmp_path], "val/accuracy").runs["score"].tolist() == [0.4]


@pytest.mark.parametrize("status", ["failed", "diverged", "interrupted"])
def test_a_run_that_did_not_finish_is_named_and_not_counted(status, tmp_path, write_run):
    write_run(seed=0, score=0.5)
    other = write_run(seed=1, score=0.99, status=status, reason="because of this")
    study = load([tmp_path], METRIC)
    assert study.runs["score"].tolist() == [0.5]
    assert reasons(study) == {other: f"{status}: because of this"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        '{"schema": 1, "run_id": "abc", "sta',
        "[1, 2]",
        '"finished"',
        "{}",
        '{"status": "finished"}',
        "\0",
    ],
)
def test_a_record_that_is_none_is_named_and_not_counted(text, tmp_path, write_run):
    write_run(seed=0, score=0.5)
    other = write_run(seed=1, score=0.99)
    (other / "run.json").write_text(text)
    study = load([tmp_path], METRIC)
    assert study.runs["score"].tolist() == [0.5]
    assert reasons(study) == {other: "unreadable"}


def test_bytes_that_are_no_text_are_unreadable(tmp_path, write_run):
    write_run(seed=0)
    other = write_run(seed=1)
    (other / "run.json").write_bytes(b"\xff\xfe\x00{")
    assert reasons(load([tmp_path], METRIC)) == {other: "unreadable"}


def test_the_same_run_in_two_places_counts_once(tmp_path, write_run):
    first = write_run(seed=0, score=0.5)
    write_run(seed=1, score=0.7)
    copy = tmp_path / "runs" / "t" / first.name
    shutil.copytree(first, copy)
    study = load([tmp_path / "runs" / "s", tmp_path / "runs" / "t"], METRIC)
    assert sorted(study.runs["score"]) == [0.5, 0.7]
    assert reasons(study) == {copy: "the same run lies elsewhere too"}


def test_a_study_given_twice_counts_once(tmp_path, write_run):
    write_run(seed=0)
    write_run(seed=1)
    assert len(load([tmp_path / "runs" / "s", tmp_path / "runs" / "s"], METRIC).runs) == 2


def test_a_folder_whose_run_is_being_written_is_passed_over(tmp_path, write_run):
    folder = write_run(seed=0)
    (folder / ".run.json-abc").write_text('{"status"')
    study = load([tmp_path], METRIC)
    assert len(study.runs) == 1
    assert study.left_out == ()


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("optimizer.lr", {"optimizer": {"lr": 0.1}}),
        ("target.labels", {"target": {"labels": 20, "data": {"root": "${paths.data}"}}}),
        ("strategy.lr_decay", {"strategy": {"lr_decay": 0.5, "losses": {}}}),
    ],
)
def test_two_configurations_of_a_strategy_are_variants_named_by_the_key(key, change, tmp_path, write_run):
    for seed in (0, 1):
        write_run("l2_sp", seed, 0.5)
        write_run("l2_sp", seed, 0.7, config=change)
        write_run("scratch", seed, 0.1)
    runs = load([tmp_path], METRIC).runs
    names = {score: set(runs.loc[runs["score"] == score, "strategy"]) for score in (0.1, 0.5, 0.7)}
    before = {"optimizer.lr": 0.01, "target.labels": 10, "strategy.lr_decay": 1.0}[key]
    after = {"optimizer.lr": 0.1, "target.labels": 20, "strategy.lr_decay": 0.5}[key]
    assert names == {0.1: {"scratch"}, 0.5: {f"l2_sp {key}={before}"}, 0.7: {f"l2_sp {key}={after}"}}


def test_a_key_that_only_one_configuration_has_tells_them_apart(tmp_path, write_run):
    write_run("l2_sp", 0)
    write_run("l2_sp", 0, config={"strategy": {"lr_decay": 1.0, "losses": {"l2_sp": {"weight": 0.1}}}})
    names = sorted(load([tmp_path], METRIC).runs["strategy"])
    assert len(set(names)) == 2
    assert names[0].startswith("l2_sp strategy.losses")


def test_a_list_that_differs_tells_configurations_apart(tmp_path, write_run):
    for widths in ([4, 8], [8, 8]):
        write_run(config={"backbone": {"widths": widths}})
    names = set(load([tmp_path], METRIC).runs["strategy"])
    assert names == {"scratch backbone.widths=[4, 8]", "scratch backbone.widths=[8, 8]"}


def test_seed_study_paths_tracker_and_workers_make_no_variant(tmp_path, write_run):
    write_run(seed=0)
    write_run(seed=1)
    write_run(seed=2, study="t")
    write_run(seed=3, config={"paths": {"runs": "elsewhere", "data": "d"}})
    write_run(seed=4, config={"tracker": {"mode": "online"}})
    write_run(seed=5, config={"workers": 4})
    runs = load([tmp_path], METRIC).runs
    assert set(runs["strategy"]) == {"scratch"}
    assert sorted(runs["seed"]) == list(range(6))


def test_settings_are_no_variants_of_each_other(tmp_path, write_run):
    write_run(target="digits")
    write_run(target="usps", config={"target": {"labels": 20}})
    assert set(load([tmp_path], METRIC).runs["strategy"]) == {"scratch"}


def test_an_unknown_metric_raises_with_those_there_are(tmp_path, write_run):
    write_run()
    with pytest.raises(InputError, match="no metric 'test/acuracy'; did you mean 'test/accuracy'") as error:
        load([tmp_path], "test/acuracy")
    assert "rule" not in str(error.value).partition("there are:")[2]


def test_without_a_finished_run_the_reasons_are_told(tmp_path, write_run):
    write_run(status="failed", reason="no such file")
    with pytest.raises(InputError, match=r"no finished run under .*failed: no such file"):
        load([tmp_path], METRIC)


def test_an_empty_folder_has_no_finished_run(tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        load([tmp_path], METRIC)


def test_the_only_study_needs_no_name(tmp_path, write_run):
    write_run(study="one")
    write_run(study="pretraining")
    (tmp_path / "runs" / "a_file").touch()
    assert find([], tmp_path / "runs") == [tmp_path / "runs" / "one"]


def test_of_several_studies_one_must_be_named(tmp_path, write_run):
    write_run(study="one")
    write_run(study="two")
    with pytest.raises(InputError, match=r"several studies .* one, two"):
        find([], tmp_path / "runs")
    assert find(["two", "one"], tmp_path / "runs") == [tmp_path / "runs" / "two", tmp_path / "runs" / "one"]


@pytest.mark.parametrize("made", [True, False], ids=["empty", "missing"])
def test_without_a_study_the_folder_is_named(made, tmp_path):
    runs = tmp_path / "runs"
    if made:
        runs.mkdir()
    with pytest.raises(InputError, match=f"no runs under {runs}"):
        find([], runs)


def test_a_study_may_be_a_path(tmp_path, write_run, monkeypatch):
    folder = write_run(study="one").parent
    assert find([str(folder)], tmp_path / "nowhere") == [folder]
    monkeypatch.chdir(tmp_path)
    (found,) = find(["runs/one"], tmp_path / "nowhere")
    assert found.resolve() == folder.resolve()


def test_an_unknown_study_raises_with_the_nearest(tmp_path, write_run):
    write_run(study="quickstart")
    with pytest.raises(InputError, match="no study 'quikstart'; did you mean 'quickstart'"):
        find(["quikstart"], tmp_path / "runs")


def test_a_key_that_varies_within_every_strategy_makes_settings_to_compare_within(tmp_path, write_run):
    for labels in (5, 10):
        for strategy in ("scratch", "l2_sp"):
            write_run(strategy, config={"target": {"labels": labels}})
    runs = load([tmp_path], METRIC).runs
    assert set(runs["strategy"]) == {"scratch", "l2_sp"}
    assert set(runs["target"]) == {"digits target.labels=5", "digits target.labels=10"}


def test_folds_are_blocks_like_seeds(tmp_path, write_run):
    for fold in (0, 1):
        for strategy in ("scratch", "l2_sp"):
            write_run(strategy, config={"target": {"folds": 2, "fold": fold}})
    runs = load([tmp_path], METRIC).runs
    assert set(runs["strategy"]) == {"scratch", "l2_sp"}
    assert set(runs["target"]) == {"digits"}
    assert sorted(set(runs["seed"])) == ["0, fold 0", "0, fold 1"]


def test_a_score_that_is_no_number_is_left_out_and_named(tmp_path, write_run):
    write_run(seed=0)
    selected = {"rule": "last", "epoch": 0, METRIC: None}
    write_run(seed=1, metrics={"selected": selected, "last": selected, "oracle": None})
    study = load([tmp_path], METRIC)
    assert list(study.runs["seed"]) == [0]
    assert [reason for _, reason in study.left_out] == [f"{METRIC} is no number"]
