"""Bad input ends with one sentence, a non-zero status, a record that says `failed`, and nothing half-written."""

import errno
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from transferlab import cli, files

# `{here}` is the test's own folder; later words override earlier ones.
TINY = [
    "source=none",
    "target=digits",
    "target.labels=6",
    "batch_size=16",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "tracker=none",
    "paths.runs={here}/runs",
    "paths.data={here}/data",
]
SMALL = ["backbone.widths=[4,8]", "backbone.input.shape=[1,8,8]"]
DIGITS = ["source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10"]
NPZ = ["target=npz", "target.data.path={here}/set.npz", "target.labels=all"]
TABLE = [*NPZ, "backbone=mlp", "backbone.input.shape=[5]"]
FOLDER = ["target=folder", "target.data.root={here}/images", "target.labels=all"]
CHECKPOINT = ["source=checkpoint", "source.weights={here}/weights.pt"]
PROGRESS = ("pretraining ", "trying again: ", "[", "resuming ", "going on: ")
HOW = ("computing with ", "cache on: ", "cache off: ")  # a run is computed

BEFORE = None  # found before any run starts: no folder of a run is made


def said(err: str) -> list[str]:
    """The lines of a command on the terminal, but for those on how its runs are computed."""
    return [line for line in err.splitlines() if not line.startswith(HOW)]


@pytest.fixture(autouse=True)
def as_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a command leaves in the environment for its workers goes with the test."""
    for name in ("TRANSFERLAB_TRUST", "TRANSFERLAB_JOBS", "TRANSFERLAB_PARENT", "HYDRA_FULL_ERROR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def command(here: Path, *words: str) -> list[str]:
    return [word.replace("{here}", str(here)) for word in ("train", *TINY, *SMALL, *words)]


def records(here: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted((here / "runs" / "default").glob("*/run.json"))]


def assert_nothing_half_written(here: Path) -> None:
    names = [path.name for path in here.rglob("*")]
    assert not [name for name in names if name.startswith((".run.json", ".config.yaml")) or name.endswith(".part")]


def npz(x: np.ndarray | None = None, y: np.ndarray | None = None, **more: np.ndarray) -> Callable[[Path], None]:
    """A file of twenty samples of five features in two classes, or of what is given instead."""

    def make(here: Path) -> None:
        inputs = np.random.default_rng(0).normal(size=(20, 5)) if x is None else x
        labels = np.arange(len(inputs)) % 2 if y is None else y
        np.savez(here / "set.npz", x_train=inputs, y_train=labels, **more)

    return make


def table_with_nan() -> np.ndarray:
    x = np.zeros((20, 5))
    x[7, 2] = np.nan
    return x


def images(here: Path, mode: str = "RGB") -> None:
    for name in ("ant", "bee"):
        folder = here / "images" / "train" / name
        folder.mkdir(parents=True)
        for number in range(5):
            Image.new(mode, (8, 8), number).save(folder / f"{number}.png")


def images_one_broken(here: Path) -> None:
    images(here, "L")
    (here / "images" / "train" / "bee" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing of the kind")


def weights_of_another_net(here: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3, 3)}, here / "weights.pt")


class _Code:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.folder,)


def weights_with_code(here: Path) -> None:
    torch.save({"block1.0.weight": _Code(str(here / "the code ran"))}, here / "weights.pt")


def weights_of_plain_pickle(here: Path) -> None:
    (here / "weights.pt").write_bytes(pickle.dumps(_Code(str(here / "the code ran")), protocol=2))


def a_file(here: Path) -> None:
    (here / "file").write_text("not a folder")


def nothing(here: Path) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """Words of `train` (or a whole command), what lies there, what is said of it, and the record's status."""

    name: str
    words: list[str]
    says: list[str]
    make: Callable[[Path], None] = nothing
    status: str | None = "failed"
    whole: bool = field(default=False)


CASES = [
    # names and kinds: found before torch is imported
    Case("unknown strategy", ["strategy=l2sp"], ["strategy 'l2sp'", "did you mean 'l2_sp'?", "scratch"], status=BEFORE),
    Case("unknown part", ["strategy/freezing=topk"], ["'topk'", "did you mean 'top_k'?", "surgical"], status=BEFORE),
    Case(
        "unknown group", ["stratgy=scratch"], ["key 'stratgy'", "did you mean 'strategy'?", "backbone"], status=BEFORE
    ),
    Case("unknown key", ["sed=1"], ["key 'sed'", "did you mean 'seed'?", "batch_size"], status=BEFORE),
    Case(
        "unknown nested key",
        ["optimizer.learning_rate=1"],
        ["'optimizer.learning_rate'", "optimizer has: ", "lr", "momentum"],
        status=BEFORE,
    ),
    Case("key below a value", ["seed.x=1"], ["'seed.x'", "seed is a value"], status=BEFORE),
    Case("a word for a number", ["trainer.max_epochs=abc"], ["trainer.max_epochs=abc", "whole number"], status=BEFORE),
    Case("a fraction for a whole number", ["seed=1.5"], ["seed=1.5", "a whole number"], status=BEFORE),
    Case("a number for yes or no", ["trainer.benchmark=3"], ["trainer.benchmark=3", "true or false"], status=BEFORE),
    Case("yes or no for a number", ["batch_size=true"], ["batch_size=", "a whole number"], status=BEFORE),
    Case("a word for a list", ["backbone.widths=wide"], ["backbone.widths=wide", "a list"], status=BEFORE),
    Case("wrong kind in a sweep's second value", ["-m", "seed=0,x"], ["seed=x", "a whole number"], status=BEFORE),
    Case("unknown option in a sweep", ["-m", "strategy=scratch,l2"], ["'l2'", "'l2_sp'"], status=BEFORE),
    Case("missing value", ["target=folder"], ["target.data.root must be given", "target.data.root="], status=BEFORE),
    Case("no override", ["seed"], ["'seed' is no override", "KEY=VALUE"], status=BEFORE),
    Case("malformed override", ["backbone.widths=[4,8"], ["backbone.widths=[4,8", "KEY=VALUE"], status=BEFORE),
    Case("several values without -m", ["seed=0,1"], ["seed has several values", "add -m"], status=BEFORE),
    Case("unknown flag", ["--sed", "1"], ["--sed", "--help"], status=BEFORE),
    Case("missing config folder", ["--config-dir", "{here}/no"], ["--config-dir {here}/no", "no such"], status=BEFORE),
    Case("missing config", ["--config-name", "trian"], ["'trian'", "--config-name"], status=BEFORE),
    Case(
        "code outside the trusted packages",
        ["strategy.freezing._target_=os.system"],
        ["strategy.freezing._target_=os.system", "transferlab, torch.nn", "--trust os"],
        status=BEFORE,
    ),
    Case("--trust without a package", ["--trust"], ["--trust needs a value"], status=BEFORE),
    # values that do not fit
    Case(
        "unknown stage",
        ["strategy=surgical", "strategy.freezing.train=[blok1]"],
        ["stage 'blok1'", "did you mean 'block1'?", "block2"],
    ),
    Case("too many stages", ["strategy=top_k", "strategy.freezing.k=9"], ["strategy.freezing.k=9", "between 0 and 2"]),
    Case(
        "no target labels", ["target.labels=none"], ["target.labels=none", "strategy=source_only", "target.labels=10"]
    ),
    Case("k larger than a class", ["target.labels=5000"], ["target.labels=5000", "class '0' has only 125"]),
    Case("no test share", ["target.test=0"], ["target.test=0", "no test samples of 1797"]),
    Case("too many folds", ["target.folds=9"], ["target.folds=9", "smallest class has 6 labels"]),
    Case("no such fold", ["target.folds=3", "target.fold=3"], ["target.fold=3", "target.folds=3", "counted from 0"]),
    Case(
        "selection without held-out labels",
        ["target.validation=0"],
        ["val/accuracy", "target.validation", "selection=last"],
    ),
    Case("unknown metric to select by", ["selection.metric=val/f2"], ["selection.metric=val/f2", "val/accuracy"]),
    Case(
        "unknown word",
        ["scheduler.clock=mine"],
        ["scheduler.clock=mine", "'per_stage' or 'global'"],
        status=BEFORE,
    ),
    Case("images too small", ["backbone.widths=[2,2,2,2]"], ["[8, 8]", "too small for 4 blocks"]),
    # source and target that do not fit
    Case("source task without source data", ["strategy=joint"], ["'source_task'", "this source has none", "source="]),
    Case("l2_sp without a start", ["strategy=l2_sp"], ["'l2_sp'", "set source"]),
    Case(
        "one head for different classes",
        ["strategy=joint", *DIGITS, *NPZ],
        ["the source alone has '2'", "strategy=partial"],
        npz(np.zeros((20, 8, 8), np.uint8)),
    ),
    Case("checkpoint missing", CHECKPOINT, ["source.weights={here}/weights.pt", "no such file"]),
    Case(
        "checkpoint of another net",
        CHECKPOINT,
        ["{here}/weights.pt", "another architecture than backbone 'convnet'", "block1.0.weight"],
        weights_of_another_net,
    ),
    Case("checkpoint with code", CHECKPOINT, ["{here}/weights.pt is refused", "safetensors"], weights_with_code),
    Case("plain pickle with code", CHECKPOINT, ["{here}/weights.pt is refused"], weights_of_plain_pickle),
    # data
    Case("data folder missing", FOLDER, ["target.data.root={here}/images", "there is no folder"]),
    Case("data not downloaded", ["target=mnist"], ["MNIST is not under {here}/data", "target.data.download=true"]),
    Case("corrupt image", FOLDER, ["{here}/images/train/bee/3.png", "repair or remove"], images_one_broken),
    Case(
        "colour images into a grey net",
        FOLDER,
        ["3 channels", "backbone.input.shape=[1, 8, 8] takes 1", "backbone.input.shape=[3,8,8]"],
        images,
    ),
    Case("file missing", NPZ, ["target.data.path={here}/set.npz", "no such file"]),
    Case("no samples", TABLE, ["{here}/set.npz", "no samples"], npz(np.zeros((0, 5)), np.zeros(0, np.int64))),
    Case(
        "empty test split",
        TABLE,
        ["{here}/set.npz:test holds no samples"],
        npz(x_test=np.zeros((0, 5)), y_test=np.zeros(0, np.int64)),
    ),
    Case(
        "class without training samples",
        TABLE,
        ["class 'c' is missing from the training split", "samples"],
        npz(classes=np.array(["a", "b", "c"])),
    ),
    Case(
        "label out of range",
        TABLE,
        ["{here}/set.npz:train", "label of sample 2 is 2", "0..1"],
        npz(y=np.arange(20) % 3, classes=np.array(["a", "b"])),
    ),
    Case("one class", TABLE, ["class"], npz(y=np.zeros(20, np.int64))),
    Case("NaN in a table", TABLE, ["{here}/set.npz:train: sample 7 holds NaN"], npz(table_with_nan())),
    Case("wrong number of features", TABLE, ["7 features", "backbone.input.shape=[7]"], npz(np.zeros((20, 7)))),
    Case("table into a net for images", NPZ, ["tables of 5 features", "choose backbone=mlp"], npz()),
    Case("pickled arrays", TABLE, ["{here}/set.npz", "plain numbers"], npz(np.array([[{}]] * 20, dtype=object))),
    # places that cannot be written
    Case("runs below a file", ["paths.runs={here}/file/runs"], ["{here}/file/runs", "set paths.runs"], a_file, BEFORE),
    Case("runs where nothing can be made", ["paths.runs=/proc/runs"], ["/proc/runs", "set paths.runs"], status=BEFORE),
    # other commands
    Case("unknown command", ["trian"], ["command 'trian'", "'train'", "sweep"], status=BEFORE, whole=True),
    Case("unknown sweep", ["sweep", "quikstart"], ["sweep 'quikstart'", "'quickstart'"], status=BEFORE, whole=True),
    Case("unknown list", ["list", "stratgies"], ["'stratgies'", "'strategies'"], status=BEFORE, whole=True),
    Case("unknown flag of compare", ["compare", "--metrik", "x"], ["--metrik"], status=BEFORE, whole=True),
    Case("no studies", ["compare"], ["no runs under runs", "--runs"], status=BEFORE, whole=True),
    Case("unknown study", ["compare", "no"], ["study 'no'"], status=BEFORE, whole=True),
]


@pytest.mark.parametrize(
    "case",
    [
        # what starts a run before it fails takes a second each, thirty of them more than a quick check may
        pytest.param(case, id=case.name.replace(" ", "_"), marks=[] if case.status is BEFORE else pytest.mark.slow)
        for case in CASES
    ],
)
def test_bad_input_ends_with_one_sentence_and_nothing_half_written(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case.make(tmp_path)
    assert cli.main(case.words if case.whole else command(tmp_path, *case.words)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    (sentence,) = [line for line in said(err) if not line.startswith(PROGRESS)]
    assert sentence.startswith("transferlab: ")
    assert "--debug" not in sentence, "an error that is not ours reached the user"
    for part in case.says:
        assert part.replace("{here}", str(tmp_path)) in sentence
    assert_nothing_half_written(tmp_path)
    assert [record["status"] for record in records(tmp_path)] == ([case.status] if case.status else [])
    assert all(record["reason"] for record in records(tmp_path))
    if case.status is BEFORE:
        assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "the code ran").exists()


def test_the_code_in_the_pickles_above_would_run_if_they_were_read_by_pickle(tmp_path: Path) -> None:
    weights_of_plain_pickle(tmp_path)
    pickle.loads((tmp_path / "weights.pt").read_bytes())
    assert (tmp_path / "the code ran").is_dir()


def test_code_behind_a_trusted_package_is_refused_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A module of a trusted package imports others, and a dotted path can go through it."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "hubconf.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'the code ran')!r})\n")
    head = f"{{_target_:torch.nn.modules.module.torch.hub.load,repo_or_dir:'{tmp_path}/hub',model:x,source:local}}"
    assert cli.main(command(tmp_path, "~task.head", f"+task.head={head}")) == 1
    assert not (tmp_path / "the code ran").exists()
    assert "torch.hub.load" in capsys.readouterr().err


def test_a_package_that_is_trusted_on_the_command_line_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine_for_this_test.py").write_text("def head_only(stages, epoch):\n    return {stages[-1]}\n")
    monkeypatch.syspath_prepend(tmp_path)
    words = command(tmp_path, "strategy.freezing._target_=mine_for_this_test.head_only")
    assert cli.main(words) == 1
    assert "--trust mine_for_this_test" in capsys.readouterr().err
    assert cli.main([*words, "--trust", "mine_for_this_test"]) == 0
    (record,) = records(tmp_path)
    assert record["status"] == "finished"
    assert record["history"][0]["trainable"] == ["head"]


def test_grey_images_are_repeated_for_a_colour_net(tmp_path: Path) -> None:
    assert cli.main(command(tmp_path, "backbone.input.shape=[3,8,8]")) == 0
    assert [record["status"] for record in records(tmp_path)] == ["finished"]


def test_validation_0_trains_where_selection_needs_none(tmp_path: Path) -> None:
    assert cli.main(command(tmp_path, "target.validation=0", "selection=last")) == 0
    (record,) = records(tmp_path)
    assert record["metrics"]["selected"]["rule"] == "last"
    assert "val" not in record["data"]["sizes"]


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_at_the_start_leaves_no_part_of_a_record(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files.os, call, full_disk)
        assert cli.main(command(tmp_path)) == 1
    (sentence,) = said(capsys.readouterr().err)
    assert sentence.startswith("transferlab: cannot write to ") and "No space left on device" in sentence
    assert "paths.runs" in sentence
    assert_nothing_half_written(tmp_path)
    assert records(tmp_path) == []
    assert cli.main(command(tmp_path)) == 0


@pytest.mark.slow
def test_a_disk_that_fills_up_while_training_leaves_the_last_whole_record_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = []

    def fills_up(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) > 2:  # config.yaml and the first run.json
            full_disk()

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", fills_up)
        assert cli.main(command(tmp_path)) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert_nothing_half_written(tmp_path)
    assert [record["status"] for record in records(tmp_path)] == ["interrupted"]
    assert cli.main(command(tmp_path)) == 0
    assert [record["status"] for record in records(tmp_path)] == ["finished"]


def test_a_disk_that_fills_up_under_the_weights_leaves_no_part_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    move = os.replace

    def full_for_weights(beside: str, path: Path) -> None:
        full_disk() if path.suffix == ".pt" else move(beside, path)

    with monkeypatch.context() as patch:
        patch.setattr("transferlab.files.os.replace", full_for_weights)
        assert cli.main(command(tmp_path)) == 1
    (sentence,) = said(capsys.readouterr().err)
    assert sentence.startswith("transferlab: cannot write to ") and "No space left on device" in sentence
    assert_nothing_half_written(tmp_path)
    assert [record["status"] for record in records(tmp_path)] == ["failed"]


def test_a_diverged_run_says_so_and_is_not_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = command(tmp_path, "optimizer.lr=1e30")
    assert cli.main(words) == 1
    (sentence,) = said(capsys.readouterr().err)
    assert sentence == "transferlab: the training loss became NaN or infinite in epoch 0"
    (record,) = records(tmp_path)
    assert record["status"] == "diverged" and record["reason"] in sentence
    assert record["metrics"] == {"selected": None, "last": None, "oracle": None}
    cli.main(words)
    assert "diverged before, skipped" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_diverged_run_and_no_mean_takes_it_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command(tmp_path, "-m", "strategy=scratch", "optimizer.lr=1e30,0.01")) == 0
    first, second = said(capsys.readouterr().err)
    assert first.startswith("[1/2] ") and "NaN or infinite" in first
    assert second.startswith("[2/2] ") and "test/accuracy" in second
    assert cli.main(command(tmp_path, "-m", "strategy=scratch", "optimizer.lr=0.01", "seed=1,2")) == 0
    finished = [record for record in records(tmp_path) if record["status"] == "finished"]
    assert (len(finished), len(records(tmp_path))) == (3, 4)

    assert cli.main(["compare", "default", "--runs", str(tmp_path / "runs")]) == 0
    assert "diverged" in capsys.readouterr().out
    folder = tmp_path / "runs" / "default" / "comparison"
    (left,) = pd.read_csv(folder / "left_out.csv").to_dict("records")
    assert left["kind"] == "diverged" and "NaN or infinite" in left["reason"]
    (row,) = pd.read_csv(folder / "comparison.csv").to_dict("records")
    assert (row["strategy"], row["seeds"]) == ("scratch", 3)
    scores = [record["metrics"]["selected"]["test/accuracy"] for record in finished]
    assert row["mean"] == pytest.approx(sum(scores) / 3)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one study, `default`, with one run of one strategy."""
    here = tmp_path_factory.mktemp("study")
    assert cli.main(command(here)) == 0
    return here / "runs"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["defualt"], ["study 'defualt'", "did you mean 'default'?"]),
        (["--metric", "test/acuracy"], ["metric 'test/acuracy'", "did you mean 'test/accuracy'?", "val/loss"]),
        (["--baseline", "full_finetun"], ["--baseline 'full_finetun'", "did you mean 'full_finetune'?"]),
    ],
    ids=["study", "metric", "baseline"],
)
def test_compare_names_what_there_is(
    study: Path, words: list[str], says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", "--runs", str(study), *words]) == 1
    out, err = capsys.readouterr()
    (sentence,) = said(err)
    assert out == "" and sentence.startswith("transferlab: ")
    assert all(part in sentence for part in says)
    assert not list(study.rglob("comparison.*"))


def test_what_is_finished_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command(tmp_path)) == 0
    (before,) = [(file, file.read_bytes()) for file in (tmp_path / "runs").rglob("run.json")]
    capsys.readouterr()
    assert cli.main(command(tmp_path)) == 0
    (line,) = said(capsys.readouterr().err)
    assert line.startswith("finished before, skipped: full_finetune none->digits convnet seed=0")
    assert before[0].read_bytes() == before[1]


def test_what_failed_is_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = command(tmp_path, *TABLE)
    assert cli.main(words) == 1
    npz()(tmp_path)
    capsys.readouterr()
    assert cli.main(words) == 0
    again, outcome = said(capsys.readouterr().err)
    assert again == "trying again: full_finetune none->npz mlp seed=0 failed before"
    assert "test/accuracy" in outcome
    (record,) = records(tmp_path)
    assert (record["status"], record["reason"]) == ("finished", "")


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "failures"), [("5000,6", 1), ("5000,6,6000", 2)], ids=["one", "two"])
def test_a_sweep_goes_on_after_a_failed_job_and_ends_with_its_sentence(
    labels: str, failures: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command(tmp_path, "-m", f"target.labels={labels}")) == 1
    *lines, sentence = said(capsys.readouterr().err)
    assert [line[:4] for line in lines] == [f"[{job}/{len(lines)}"[:4] for job in range(1, failures + 2)]
    assert "target.labels=5000" in lines[0] and "test/accuracy" in lines[1]
    assert sentence.startswith("transferlab: ") and "target.labels=5000: class '0' has only 125" in sentence
    assert ("2 jobs failed" in sentence) == (failures == 2)
    assert sorted(record["status"] for record in records(tmp_path)) == ["failed"] * failures + ["finished"]


def test_an_error_that_is_not_ours_is_one_sentence_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command(tmp_path, "optimizer.momentum=-1")) == 1
    (sentence,) = said(capsys.readouterr().err)
    assert sentence == "transferlab: ValueError: Invalid momentum value: -1 (--debug shows where)"
    assert [record["status"] for record in records(tmp_path)] == ["failed"]


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command(tmp_path, "strategy=l2sp", "--debug")) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last)")
    assert "there is no strategy 'l2sp'" in err.splitlines()[-1]
