import json
import shutil

import pytest

from transferlab.compare.reading import find
from transferlab.compare.records import load
from transferlab.errors import InputError

METRIC = "test/accuracy"


def kinds(study):
    return {item.where: item.kind for item in study.left_out}


def test_a_row_holds_what_the_record_says_of_the_selected_epoch(tmp_path, write_run):
    folder = write_run("l2_sp", 3, 0.75, source="mnist", target="usps", backbone="mlp", parameters=42, seconds=9.5)
    record = json.loads((folder / "run.json").read_text())
    record["metrics"]["last"]["test/accuracy"] = 0.1
    (folder / "run.json").write_text(json.dumps(record))
    study = load([tmp_path / "runs" / "s"], METRIC)
    (row,) = study.table.to_dict("records")
    assert row == {
        "run_id": folder.name,
        "where": str(folder),
        "source": "mnist",
        "target": "usps",
        "backbone": "mlp",
        "strategy": "l2_sp",
        "method": "l2_sp",
        "seed": 3,
        "score": 0.75,
        "val": 0.375,
        "last": 0.1,
        "oracle": None,
        "seconds": 9.5,
        "fit_seconds": None,
        "samples": None,
        "trainable_parameters": 42,
        "total_parameters": 200,
        "flops": None,
        "peak_memory_bytes": None,
    }
    assert study.left_out == ()
    assert (study.name, study.metric) == ("s", METRIC)
    assert list(study.runs) == list(study.places) == [folder.name]


def test_the_metric_asked_for_is_the_score(tmp_path, write_run):
    write_run(score=0.8)
    assert load([tmp_path], "val/accuracy").table["score"].tolist() == [0.4]


@pytest.mark.parametrize("status", ["failed", "diverged", "interrupted"])
def test_a_run_that_did_not_finish_is_named_and_not_counted(status, tmp_path, write_run):
    write_run(seed=0, score=0.5)
    other = write_run(seed=1, score=0.99, status=status, reason="because of this")
    study = load([tmp_path], METRIC)
    assert study.table["score"].tolist() == [0.5]
    assert [str(item) for item in study.left_out] == [f"{other}: {status}: because of this"]


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
        '{"schema": 1, "status": "finished"}',
        '{"schema": 2, "run_id": "abc", "study": "s", "status": "finished"}',
        '{"schema": "1", "status": "finished"}',
        '{"schema": 0, "status": "finished"}',
    ],
)
def test_a_record_that_is_none_is_named_and_not_counted(text, tmp_path, write_run):
    write_run(seed=0, score=0.5)
    other = write_run(seed=1, score=0.99)
    (other / "run.json").write_text(text)
    study = load([tmp_path], METRIC)
    assert study.table["score"].tolist() == [0.5]
    assert kinds(study) == {str(other): "unreadable"}


def test_bytes_that_are_no_text_are_unreadable(tmp_path, write_run):
    write_run(seed=0)
    other = write_run(seed=1)
    (other / "run.json").write_bytes(b"\xff\xfe\x00{")
    assert kinds(load([tmp_path], METRIC)) == {str(other): "unreadable"}


def test_the_same_run_in_two_places_counts_once(tmp_path, write_run):
    first = write_run(seed=0, score=0.5)
    write_run(seed=1, score=0.7)
    copy = tmp_path / "runs" / "t" / first.name
    shutil.copytree(first, copy)
    study = load([tmp_path / "runs" / "s", tmp_path / "runs" / "t"], METRIC)
    assert sorted(study.table["score"]) == [0.5, 0.7]
    assert [str(item) for item in study.left_out] == [f"{copy}: duplicate: the same run lies in {first} too"]


def test_a_study_given_twice_counts_once(tmp_path, write_run):
    write_run(seed=0)
    write_run(seed=1)
    assert len(load([tmp_path / "runs" / "s", tmp_path / "runs" / "s"], METRIC).table) == 2


def test_a_folder_whose_run_is_being_written_is_passed_over(tmp_path, write_run):
    folder = write_run(seed=0)
    (folder / ".run.json-abc").write_text('{"status"')
    study = load([tmp_path], METRIC)
    assert len(study.table) == 1
    assert study.left_out == ()


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("optimizer.lr", {"optimizer": {"lr": 0.1}}),
        ("strategy.lr_decay", {"strategy": {"lr_decay": 0.5, "losses": {}}}),
    ],
)
def test_two_configurations_of_a_strategy_are_variants_named_by_the_key(key, change, tmp_path, write_run):
    for seed in (0, 1):
        write_run("l2_sp", seed, 0.5)
        write_run("l2_sp", seed, 0.7, config=change)
        write_run("scratch", seed, 0.1)
    runs = load([tmp_path], METRIC).table
    names = {score: set(runs.loc[runs["score"] == score, "strategy"]) for score in (0.1, 0.5, 0.7)}
    before = {"optimizer.lr": 0.01, "strategy.lr_decay": 1.0}[key]
    after = {"optimizer.lr": 0.1, "strategy.lr_decay": 0.5}[key]
    assert names == {0.1: {"scratch"}, 0.5: {f"l2_sp {key}={before}"}, 0.7: {f"l2_sp {key}={after}"}}


def test_a_key_that_only_one_configuration_has_tells_them_apart(tmp_path, write_run):
    write_run("l2_sp", 0)
    write_run("l2_sp", 0, config={"strategy": {"lr_decay": 1.0, "losses": {"l2_sp": {"weight": 0.1}}}})
    names = sorted(load([tmp_path], METRIC).table["strategy"])
    assert len(set(names)) == 2
    assert names[0].startswith("l2_sp strategy.losses")


def test_a_list_that_differs_tells_configurations_apart(tmp_path, write_run):
    for widths in ([4, 8], [8, 8]):
        write_run(config={"optimizer": {"betas": widths}})
    names = set(load([tmp_path], METRIC).table["strategy"])
    assert names == {"scratch optimizer.betas=[4, 8]", "scratch optimizer.betas=[8, 8]"}


@pytest.mark.parametrize(
    ("key", "config"), [("target.labels", {"target": {"labels": 20}}), ("backbone.width", {"backbone": {"width": 20}})]
)
def test_runs_of_other_data_or_another_net_are_no_runs_of_one_setting(key, config, tmp_path, write_run):
    for seed in (0, 1):
        write_run("l2_sp", seed, 0.7, config=config)  # by one strategy alone
        write_run("scratch", seed, 0.1)
    table = load([tmp_path], METRIC).table
    assert set(table["strategy"]) == {"l2_sp", "scratch"}
    (target,) = set(table.loc[table["strategy"] == "l2_sp", "target"])
    assert f"{key}=20" in target
    assert not any(f"{key}=20" in other for other in table.loc[table["strategy"] == "scratch", "target"])


@pytest.mark.parametrize(
    "change",
    [
        {"cost": {"seconds": 1.0, "flops": "many"}},
        {"cost": {"samples": [1]}},
        {"forgetting": "x"},
        {"forgetting": {"source_accuracy_before": "high"}},
        {"metrics": {"selected": {"rule": "last", METRIC: 0.5}, "last": "text", "oracle": None}},
        {"axes": {"source": "s", "target": "t", "backbone": "b", "strategy": ["a"], "seed": 0}},
        {"axes": {"source": "s", "target": "t", "backbone": "b", "strategy": "a", "seed": [1]}},
    ],
)
def test_one_record_of_wrong_kinds_is_named_and_ends_nothing(change, tmp_path, write_run):
    write_run(seed=0, score=0.5)
    other = write_run(seed=1)
    record = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**record, **change}))
    study = load([tmp_path], METRIC)
    assert study.table["score"].tolist() == [0.5]
    assert kinds(study) == {str(other): "unreadable"}


def test_what_looks_like_a_run_and_has_no_record_is_named(tmp_path, write_run):
    write_run(seed=0, score=0.5)
    (tmp_path / "runs" / "s" / "begun").mkdir()
    (tmp_path / "runs" / "s" / "begun" / "config.yaml").touch()
    (tmp_path / "runs" / "s" / "odd" / "run.json").mkdir(parents=True)
    (tmp_path / "runs" / "s" / "deep").mkdir()
    (tmp_path / "runs" / "s" / "deep" / "run.json").write_text("[" * 100_000)
    found = kinds(load([tmp_path], METRIC))
    assert found == {str(tmp_path / "runs" / "s" / name): "unreadable" for name in ("begun", "odd", "deep")}


def test_what_a_tracker_keeps_of_a_comparison_is_no_run(tmp_path, write_run):
    write_run(seed=0, score=0.5)
    kept = tmp_path / "runs" / "s" / "comparison" / "wandb" / "run-1" / "files"
    kept.mkdir(parents=True)
    (kept / "config.yaml").touch()
    assert load([tmp_path], METRIC).left_out == ()


def test_a_linked_run_is_read_and_a_circle_of_links_ends(tmp_path, write_run):
    elsewhere = write_run(seed=1, score=0.7, study="t")
    write_run(seed=0, score=0.5)
    (tmp_path / "runs" / "s" / "linked").symlink_to(elsewhere)
    (tmp_path / "runs" / "s" / "circle").symlink_to(tmp_path / "runs" / "s")
    assert sorted(load([tmp_path / "runs" / "s"], METRIC).table["score"]) == [0.5, 0.7]


def test_seed_study_paths_tracker_and_workers_make_no_variant(tmp_path, write_run):
    write_run(seed=0)
    write_run(seed=1)
    write_run(seed=2, study="t")
    write_run(seed=3, config={"paths": {"runs": "elsewhere", "data": "d"}})
    write_run(seed=4, config={"tracker": {"mode": "online"}})
    write_run(seed=5, config={"workers": 4})
    runs = load([tmp_path], METRIC).table
    assert set(runs["strategy"]) == {"scratch"}
    assert sorted(runs["seed"]) == list(range(6))


def test_settings_are_no_variants_of_each_other(tmp_path, write_run):
    write_run(target="digits")
    write_run(target="usps", config={"target": {"labels": 20}})
    assert set(load([tmp_path], METRIC).table["strategy"]) == {"scratch"}


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
    runs = load([tmp_path], METRIC).table
    assert set(runs["strategy"]) == {"scratch", "l2_sp"}
    assert set(runs["target"]) == {"digits target.labels=5", "digits target.labels=10"}


def test_folds_are_blocks_like_seeds(tmp_path, write_run):
    for fold in (0, 1):
        for strategy in ("scratch", "l2_sp"):
            write_run(strategy, config={"target": {"folds": 2, "fold": fold}})
    runs = load([tmp_path], METRIC).table
    assert set(runs["strategy"]) == {"scratch", "l2_sp"}
    assert set(runs["target"]) == {"digits"}
    assert sorted(set(runs["seed"])) == ["0, fold 0", "0, fold 1"]


def test_a_score_that_is_no_number_is_left_out_and_named(tmp_path, write_run):
    write_run(seed=0)
    selected = {"rule": "last", "epoch": 0, METRIC: None}
    write_run(seed=1, metrics={"selected": selected, "last": selected, "oracle": None})
    study = load([tmp_path], METRIC)
    assert list(study.table["seed"]) == [0]
    assert [(item.kind, item.reason) for item in study.left_out] == [("no number", f"{METRIC} is NaN or infinite")]


def change(folder, **changes):
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": None},
        {"axes": {"source": "a"}},
        {"config": []},
        {"metrics": None},
        {"metrics": {"selected": [1, 2]}},
        {"metrics": {"selected": 0.5}},
        {"cost": 3},
        {"cost": "abc"},
        {"history": [1]},
        {"history": [{"val/loss": 1.0}]},
        {"history": [{"epoch": 0, "val/loss": "much"}]},
        {"status": None},
        {"status": "done"},
    ],
    ids=str,
)
def test_a_finished_record_that_is_broken_is_named_and_not_counted(changes, tmp_path, write_run):
    write_run(seed=0, score=0.5)
    other = write_run(seed=1, score=0.99)
    change(other, **changes)
    study = load([tmp_path], METRIC)
    assert study.table["score"].tolist() == [0.5]
    assert kinds(study) == {str(other): "unreadable"}
    assert all(item.reason for item in study.left_out)


def test_a_record_of_a_newer_schema_is_named_so_and_the_others_are_compared(tmp_path, write_run):
    write_run(seed=0, score=0.5)
    other = write_run(seed=1, score=0.99)
    change(other, schema=3)
    study = load([tmp_path], METRIC)
    assert study.table["score"].tolist() == [0.5]
    (left,) = study.left_out
    assert (left.where, left.kind) == (str(other), "unreadable")
    assert "newer transferlab (schema 3" in left.reason


def test_records_of_several_schemas_are_compared_together(tmp_path, write_run):
    write_run(seed=0, score=0.5)
    newer = write_run(seed=1, score=0.7)
    change(newer, schema=2, forgetting={"source_accuracy_before": 0.9, "source_accuracy_after": 0.6})
    study = load([tmp_path], METRIC)
    assert sorted(study.table["score"]) == [0.5, 0.7]
    assert sorted((run.forgetting is None) for run in study.runs.values()) == [False, True]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "null", '"NaN"'])
def test_a_score_of_a_foreign_writer_that_is_no_number_is_left_out_too(value, tmp_path, write_run):
    write_run(seed=0, score=0.5)
    other = write_run(seed=1, score=0.75)
    text = (other / "run.json").read_text()
    assert '"test/accuracy": 0.75' in text
    (other / "run.json").write_text(text.replace('"test/accuracy": 0.75', f'"test/accuracy": {value}'))
    study = load([tmp_path], METRIC)
    assert study.table["score"].tolist() == [0.5]
    assert kinds(study) == {str(other): "unreadable" if value == '"NaN"' else "no number"}


def test_where_no_score_is_a_number_a_sentence_says_so(tmp_path, write_run):
    selected = {"rule": "last", "epoch": 0, METRIC: None}
    write_run(metrics={"selected": selected, "last": selected, "oracle": None})
    with pytest.raises(
        InputError, match="test/accuracy is NaN or infinite in all of the 1 runs; choose another --metric"
    ):
        load([tmp_path], METRIC)


def regression(seed, error):
    epoch = {"rule": "last", "epoch": 0, "test/loss": error**2, "test/mse": error**2, "test/rmse": error}
    return {"target": "houses", "metrics": {"selected": epoch, "last": epoch, "oracle": None}, "seed": seed}


def test_runs_of_another_task_that_lack_the_metric_are_named(tmp_path, write_run):
    write_run(seed=0, score=0.5)
    other = write_run(**regression(1, 0.2))
    study = load([tmp_path], None)
    assert study.metric == METRIC
    assert study.table["score"].tolist() == [0.5]
    (left,) = study.left_out
    assert (left.where, left.kind) == (str(other), "no metric")
    assert left.reason == f"{METRIC} is not among its own (test/loss, test/mse, test/rmse)"
    assert load([tmp_path], "test/rmse").table["score"].tolist() == [0.2]


def test_without_accuracy_the_metric_that_most_runs_were_tested_by_is_taken(tmp_path, write_run):
    for seed in range(3):
        write_run(**regression(seed, 0.2))
    assert load([tmp_path], None).metric == "test/mse"
    epoch = {"rule": "last", "epoch": 0, "test/loss": 0.3, "test/rmse": 0.5}
    write_run(seed=9, target="houses", metrics={"selected": epoch, "last": epoch, "oracle": None})
    assert load([tmp_path], None).metric == "test/rmse"


def test_where_runs_have_only_a_loss_it_is_the_metric(tmp_path, write_run):
    epoch = {"rule": "last", "epoch": 0, "test/loss": 0.3}
    write_run(metrics={"selected": epoch, "last": epoch, "oracle": None})
    assert load([tmp_path], None).table["score"].tolist() == [0.3]


def test_a_finished_run_without_a_selected_epoch_has_no_metric(tmp_path, write_run):
    write_run(seed=0)
    write_run(seed=1, metrics={"selected": None, "last": None, "oracle": None})
    assert [item.kind for item in load([tmp_path], METRIC).left_out] == ["no metric"]


def test_pretraining_of_a_source_is_compared_only_where_it_is_asked_for(tmp_path, write_run):
    write_run(seed=0, score=0.5)
    source = write_run(seed=1, score=0.9, study="pretraining")
    study = load([tmp_path / "runs"], METRIC)
    assert study.table["score"].tolist() == [0.5]
    assert kinds(study) == {str(source): "pretraining of a source"}
    assert load([tmp_path / "runs" / "pretraining"], METRIC).table["score"].tolist() == [0.9]


def test_several_folders_are_one_comparison(tmp_path, write_run):
    write_run("scratch", study="one", score=0.5)
    write_run("l2_sp", study="two", score=0.6)
    study = load([tmp_path / "runs" / "one", tmp_path / "runs" / "two"], METRIC)
    assert dict(zip(study.table["strategy"], study.table["score"], strict=True)) == {"scratch": 0.5, "l2_sp": 0.6}
    assert study.name == "one, two"


def test_a_failed_try_of_a_run_does_not_hide_the_finished_one(tmp_path, write_run):
    finished = write_run(seed=0, score=0.5)
    failed = tmp_path / "runs" / "a" / finished.name
    shutil.copytree(finished, failed)
    change(failed, status="failed", reason="no disk")
    study = load([tmp_path / "runs"], METRIC)
    assert study.table["score"].tolist() == [0.5]
    assert kinds(study) == {str(failed): "failed"}


def test_every_record_is_either_compared_or_left_out(tmp_path, write_run):
    written = [write_run(seed=seed, score=seed / 10) for seed in range(4)]
    written += [write_run(seed=seed, status=status) for seed, status in ((4, "failed"), (5, "diverged"))]
    for seed, text in ((6, "{"), (7, "")):
        written.append(write_run(seed=seed))
        (written[-1] / "run.json").write_text(text)
    study = load([tmp_path], METRIC, where="seed<3")
    assert sorted([*study.table["where"], *(item.where for item in study.left_out)]) == sorted(map(str, written))
    assert len(study.table) == 3
