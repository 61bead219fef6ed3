"""Domain adaptation by the real command: what it says of what cannot be, and what its record holds."""

import json
from pathlib import Path

import numpy as np
import pytest

from transferlab import cli

NET = ["backbone=convnet", "backbone.widths=[4,6]", "backbone.input.shape=[1,8,8]"]
QUIET = ["tracker=none", "trainer.accelerator=cpu", "diagnostics=none", "batch_size=8", "trainer.max_epochs=2"]
NAMES = np.array(["ant", "bee"])


def written(file: Path, seed: int, names=NAMES, count: int = 24, side: int = 8, channels: int = 1) -> Path:
    """Images that are brighter in one class."""
    rng, y = np.random.default_rng(seed), np.arange(count) % len(names)
    x = (rng.integers(0, 128, (count, side, side, channels)) + 100 * (y % 2)[:, None, None, None]).astype(np.uint8)
    np.savez(file, x_train=x, y_train=y, x_test=x[::-1], y_test=y[::-1], classes=names)
    return file


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the command on two sets; gives what it says, and the record of the last run if there is one."""

    def command(*words: str, source: Path | None = None, target: Path | None = None):
        source = source or written(tmp_path / "source.npz", 1)
        target = target or written(tmp_path / "target.npz", 2)
        data = [f"source.pretrain.target.data.path={source}", f"target.data.path={target}"]
        data += ["source=npz", "target=npz", "source.pretrain.max_epochs=1", "source.pretrain.target.validation=0"]
        data += ["selection@source.pretrain.selection=last", "target.labels=none"]
        code = cli.main(["train", *data, *NET, *QUIET, *words, f"paths.runs={tmp_path / 'runs'}"])
        files = sorted((tmp_path / "runs").glob("*/*/run.json"), key=lambda file: file.stat().st_mtime)
        return code, capsys.readouterr().err, json.loads(files[-1].read_text()) if files else None

    return command


def test_every_rule_is_in_the_record_beside_the_declared_one(run):
    code, _, record = run("strategy=dan", "selection=snd", "rules=all", "oracle=true")
    assert code == 0
    expected = {"source_val", "iwv", "dev", "entropy", "infomax", "bnm", "snd", "class_cluster", "reverse", "last"}
    assert set(record["rules"]) == expected  # of target labels none are held out
    scores = [(not row["rules/collapsed"], row["rules/snd"]) for row in record["history"]]
    chosen = record["rules"]["snd"]
    assert record["metrics"]["selected"]["rule"] == "snd"
    assert record["metrics"]["selected"]["epoch"] == chosen["epoch"] == max(range(2), key=lambda e: (scores[e], e))
    assert chosen["score"] == record["history"][chosen["epoch"]]["rules/snd"]
    assert chosen["collapsed"] == bool(record["history"][chosen["epoch"]]["rules/collapsed"])
    assert chosen["test/accuracy"] == record["metrics"]["selected"]["test/accuracy"]
    assert record["rules"]["last"]["epoch"] == 1


@pytest.mark.parametrize("more", [(), ("+strategy/averaging@strategy.averaging=ema",)], ids=["last", "averaged"])
def test_rules_look_at_what_enters_behind_frozen_stages_and_say_the_same(run, more):
    words = ["strategy=dan", "strategy/freezing=top_k", "strategy.freezing.k=1", "rules=all", *more]
    words += ["selection=last", "trainer.precision=64-true"]
    _, _, plain = run(*words, "study=off", "cache=off")
    _, _, without = run(*words, "study=without", "cache=on", "rules=none")
    _, _, cached = run(*words, "study=on", "cache=on")
    assert cached["rules"].keys() == plain["rules"].keys() and len(plain["rules"]) > 5
    for row, same in zip(cached["history"], plain["history"], strict=True):
        assert {key: value for key, value in row.items() if key.startswith("rules/")} == pytest.approx(
            {key: value for key, value in same.items() if key.startswith("rules/")}, rel=1e-6
        )
    # two epochs of the target's 24 inputs, the source's 24 samples and the 24 held out of it
    assert cached["cost"]["cache_hits"] == without["cost"]["cache_hits"] + 2 * 72 > 2 * 72


def test_the_declared_rule_alone_is_in_the_record_by_default(run):
    _, _, record = run("strategy=source_only", "selection=entropy")
    assert set(record["rules"]) == {"entropy"} and "test/accuracy" not in record["rules"]["entropy"]


def test_the_oracle_selects_what_it_is_and_says_so(run):
    _, _, record = run("strategy=source_only", "selection=oracle")
    selected, oracle = record["metrics"]["selected"], record["metrics"]["oracle"]
    assert selected["rule"] == "oracle"
    assert {key: value for key, value in selected.items() if key != "rule"} == {
        key: value for key, value in oracle.items() if key != "rule"
    }
    assert not any(key.startswith("test/") for row in record["history"] for key in row)


@pytest.mark.parametrize("strategy", ["shot", "tent"])
def test_source_free_means_that_no_source_sample_is_opened(run, tmp_path, strategy):
    source = written(tmp_path / "there.npz", 1)
    assert run("strategy=source_only", "selection=last", source=source)[2]["data"]["source_sizes"] == {
        "train": 24,
        "held": 24,
    }
    source.unlink()
    code, said, record = run(f"strategy={strategy}", "selection=entropy", source=source)
    assert code == 0, said
    assert record["status"] == "finished" and record["data"]["source_sizes"] is None


def test_an_open_target_is_scored_on_what_the_source_does_not_know(run, tmp_path):
    target = written(tmp_path / "open.npz", 3, np.array(["ant", "bee", "cat"]))
    words = ["strategy=osbp", "task=open_set", "target.label_space=open", "selection=last"]
    _, _, record = run(*words, target=target)
    assert record["data"]["classes"] == ["ant", "bee", "unknown"]
    assert 0 <= record["metrics"]["selected"]["test/h_score"] <= 1


def test_a_partial_target_has_the_sources_classes(run, tmp_path):
    source = written(tmp_path / "more.npz", 3, np.array(["cat", "ant", "bee"]))
    _, _, record = run("strategy=pada", "target.label_space=partial", "selection=last", source=source)
    assert record["data"]["classes"] == ["cat", "ant", "bee"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["strategy=full_finetune"], "learns from labels of the target alone"),
        (["strategy=l2_sp"], "learns from labels of the target alone"),
        (["strategy=dann"], "no labels are held out"),
        (["strategy=dann", "selection=last", "+strategy/loss@strategy.losses.bss=bss"], "trains on none"),
        (["strategy=shot", "selection=source_val"], "there are none"),
        (["strategy=fixmatch", "selection=last", "strategy.views=null"], "two views"),
        (["strategy=dann", "selection=last", "target.noise=0.1"], "target.noise=0.1 is about labels"),
        (["strategy=dann", "selection=last", "target.label_space=some"], "same"),
        (["strategy=deep_coral", "selection=last", "batch_size=1"], "batch_size"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_said_in_a_sentence(run, words, said):
    code, error, _ = run(*words)
    assert code != 0 and said in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("strategy", "said"), [("dann", "this source has none"), ("shot", "starts from no source")], ids=["dann", "shot"]
)
def test_a_source_that_is_missing_is_said(strategy, said, tmp_path, capsys):
    data = ["source=none", "target=npz", f"target.data.path={written(tmp_path / 'alone.npz', 1)}", "target.labels=none"]
    words = [f"strategy={strategy}", "selection=last", *data, *NET, *QUIET]
    assert cli.main(["train", *words, f"paths.runs={tmp_path / 'runs'}"]) != 0
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_label_spaces_that_do_not_meet_are_named(run, tmp_path):
    target = written(tmp_path / "other.npz", 3, np.array(["ant", "cow"]))
    code, said, _ = run("strategy=dann", "selection=last", target=target)
    assert code != 0 and "the source alone has 'bee' and the target alone has 'cow'" in said


def test_a_source_head_of_other_classes_is_named(run, tmp_path):
    target = written(tmp_path / "swapped.npz", 3, NAMES[::-1])
    code, said, _ = run("strategy=tent", "selection=last", target=target)
    assert code != 0 and "tells ant, bee apart, in this order, the target has bee, ant" in said


def test_images_of_other_sizes_are_resized_and_other_channels_refused(run, tmp_path):
    assert run("strategy=dan", "selection=last", target=written(tmp_path / "large.npz", 3, side=12))[0] == 0
    code, said, _ = run("strategy=dan", "selection=last", target=written(tmp_path / "colour.npz", 3, channels=3))
    assert code != 0 and "3 channels" in said


def test_a_target_that_is_its_own_source_is_refused(run, tmp_path):
    same, copied = (written(tmp_path / f"{name}.npz", 1) for name in ("same", "copied"))
    code, said, _ = run("strategy=dann", "selection=last", source=same, target=same)
    assert code != 0 and "source and target are one set" in said
    code, said, _ = run("strategy=dann", "selection=last", source=same, target=copied)
    assert code != 0 and "24 of 24 target samples whose labels are hidden" in said


def test_a_constant_target_is_said(run, tmp_path):
    target = tmp_path / "black.npz"
    x, y = np.zeros((24, 8, 8, 1), np.uint8), np.arange(24) % 2
    np.savez(target, x_train=x, y_train=y, x_test=x, y_test=y, classes=NAMES)
    source = written(tmp_path / "white.npz", 1)
    code, _, record = run("strategy=dan", "selection=last", source=source, target=target)
    assert code == 0 and record["status"] == "finished"
    assert all(np.isfinite(row["train/mk_mmd_loss"]) for row in record["history"])


@pytest.mark.parametrize("empty", ["source", "target"])
def test_a_domain_that_is_empty_is_said(run, tmp_path, empty):
    file = tmp_path / "none.npz"
    x, y = np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, int)
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y, classes=NAMES)
    code, said, _ = run("strategy=dan", "selection=last", **{empty: file})
    assert code != 0 and "none.npz" in said and "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["dan", "jan", "cmd", "deepjdot", "cdan", "mcd", "mdd", "bnm", "mcc", "afn"])
def test_a_batch_of_one_class_trains_on(run, strategy):
    code, _, record = run(f"strategy={strategy}", "selection=last", "batch_size=2", "trainer.max_epochs=1")
    assert code == 0 and record["status"] == "finished"  # among twelve batches of two some have one class


def test_predictions_on_one_class_are_flagged_without_the_source_too(run, tmp_path):
    black = tmp_path / "black.npz"
    x, y = np.zeros((24, 8, 8, 1), np.uint8), np.arange(24) % 2
    np.savez(black, x_train=x, y_train=y, x_test=x, y_test=y, classes=NAMES)
    _, said, record = run("strategy=shot", "selection=entropy", target=black)
    assert record["rules"]["entropy"]["collapsed"] is True and "predictions have collapsed" in said
    _, _, record = run("strategy=shot", "selection=entropy", "rules.collapse=null", "study=unasked", target=black)
    assert record["rules"]["entropy"]["collapsed"] is None


def test_a_set_that_is_preprocessed_otherwise_is_the_same_set(tmp_path, capsys):
    words = ["source=mnist5k", "target=mnist5k", "target.labels=none", "strategy=source_only", "selection=last", *NET]
    assert cli.main(["train", *words, *QUIET, f"paths.runs={tmp_path / 'runs'}"]) != 0
    assert "source and target are one set, mnist5k" in capsys.readouterr().err


def test_rules_see_the_same_with_the_cache_and_without(run):
    words = ["strategy=dan", "strategy/freezing=linear_probe", "selection=last", "rules=all", "rules.samples=7"]
    rules = [
        [
            {key: row[key] for key in row if key.startswith("rules/")}
            for row in run(*words, f"cache={use}")[2]["history"]
        ]
        for use in ("on", "off")
    ]
    for cached, plain in zip(*rules, strict=True):
        assert cached == pytest.approx(plain, abs=1e-5, nan_ok=True)


def test_a_partial_target_has_not_collapsed(run, tmp_path):
    source = written(tmp_path / "many.npz", 1, np.array(list("abcdefgh")), count=32)
    target = written(tmp_path / "few.npz", 2, np.array(["a", "b"]))
    words = ["strategy=source_only", "target.label_space=partial", "selection=source_val"]
    code, said, _ = run(*words, source=source, target=target)
    assert code == 0 and "from the source's" not in said


def test_held_out_rows_of_a_table_are_encoded_too(tmp_path):
    for name, seed in (("source", 0), ("target", 1)):
        rng = np.random.default_rng(seed)
        rows = [f"{a:.2f},{b:.2f},{'yes' if a > 0 else 'no'}" for a, b in rng.normal(size=(40, 2))]
        (tmp_path / f"{name}.csv").write_text("a,b,label\n" + "\n".join(rows) + "\n")
    words = ["source=table", f"source.pretrain.target.data.path={tmp_path}/source.csv", "target=table"]
    words += [f"target.data.path={tmp_path}/target.csv", "target.labels=none", "strategy=dan", "selection=source_val"]
    words += ["backbone=mlp", "input@backbone.input=table", "backbone.input.shape=[2]", "source.pretrain.max_epochs=1"]
    assert cli.main(["train", *words, *QUIET, f"paths.runs={tmp_path / 'runs'}"]) == 0


def test_the_baseline_takes_as_many_steps_under_a_few_labels(run):
    words = ["target.labels=3", "target.validation=0.34", "selection=target_val"]
    alone, adapting = (run(f"strategy={name}", *words)[2]["data"]["sizes"] for name in ("source_only", "dan"))
    assert alone["unlabeled"] == adapting["unlabeled"] == 24 - 6 and "train" not in alone


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["strategy=wise_ft", "strategy.interpolation.alpha=null", "target.labels=8", "selection=entropy"], "an alpha"),
        (["strategy=shot", "task.class_weights=balanced", "selection=entropy"], "this run has none"),
        (["strategy=ewc", "selection=last"], "learns from labels of the target alone"),
        (["strategy=deepjdot", "selection=last", "augmentation=mixup"], "does not mix images"),
        (["strategy=dann", "selection=last", "target.test=all", "target.source_test=0.9"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_more_that_cannot_be_is_said_before_the_training_ends(run, words, said):
    code, error, record = run(*words)
    assert "Traceback" not in error
    if said is not None:
        assert code != 0 and said in error
        assert record is None or not record.get("history")


def test_a_rule_beside_leaves_a_run_alone_that_has_nothing_for_it(tmp_path):
    words = ["source=none", "strategy=scratch", "target=diabetes", "task=regression", "rules=all", "backbone=mlp"]
    words += ["input@backbone.input=table", "backbone.input.shape=[10]", "trainer.max_epochs=1"]
    assert (
        cli.main(["train", *words, "tracker=none", "trainer.accelerator=cpu", f"paths.runs={tmp_path / 'runs'}"]) == 0
    )


def test_one_set_as_both_sides_is_fine_where_nothing_is_hidden(run, tmp_path):
    same = written(tmp_path / "same.npz", 1)
    assert run("strategy=dan", "selection=last", "target.labels=all", source=same, target=same)[0] == 0


def test_the_names_of_a_head_that_stays_are_checked_even_with_labels(run, tmp_path):
    target = written(tmp_path / "swapped.npz", 3, NAMES[::-1])
    words = ["strategy=shot", "selection=target_val", "target.labels=4", "target.validation=0.5"]
    code, said, _ = run(*words, target=target)
    assert code != 0 and "in this order" in said
