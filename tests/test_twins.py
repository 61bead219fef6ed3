"""Which runs there are after a command with `twins=true`, and that its strategies' own words do not reach them."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from transferlab import cli, twins
from transferlab.composing import Composer
from transferlab.errors import InputError

TINY = [
    "source=digits",
    "target=digits",
    "target.labels=6",
    "batch_size=16",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "backbone.widths=[4,8]",
    "backbone.input.shape=[1,8,8]",
    "source.pretrain.max_epochs=1",
    "source.pretrain.target.labels=10",
    "tracker=none",
]
PRESET = """# Ours
defaults: [train, _self_]
study: ours
twins: true
optimizer: {lr: 0.02}
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      strategy: l2_sp
      strategy.lr_decay: 0.9,0.8
      target.labels: 5,6
      seed: 0,1
"""


@pytest.fixture(autouse=True)
def away_from_the_checkout(monkeypatch, tmp_path):
    for name in ("TRANSFERLAB_TRUST", "TRANSFERLAB_JOBS", "TRANSFERLAB_JOBS_BEFORE", "TRANSFERLAB_PARENT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def train(runs: Path, *words: str, status: int = 0) -> list[dict]:
    assert cli.main(["train", *TINY, f"paths.runs={runs}", *words]) == status
    return records(runs)


def records(runs: Path, study: str = "default") -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted((runs / study).glob("*/run.json"))]


def told_apart(found: list[dict], *keys: str) -> list[tuple]:
    """Strategy, seed and these keys of every run."""

    def value(config: dict, key: str):
        for part in key.split("."):
            config = config[part]
        return config

    return sorted((r["axes"]["strategy"], r["axes"]["seed"], *(value(r["config"], key) for key in keys)) for r in found)


def command(*words: str, multirun: bool = True, name: str = "train", folder: str | None = None) -> list[str]:
    with Composer(name, folder) as composer:
        return twins.command(composer, composer.check(words, multirun))


def test_a_single_run_gets_both_twins(tmp_path, capsys):
    found = train(tmp_path, "strategy=l2_sp", "seed=3", "optimizer.lr=0.02", "twins=true")
    assert told_apart(found, "optimizer.lr") == [(name, 3, 0.02) for name in ("l2_sp", "linear_probe", "scratch")]
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("twins=true"))
    assert "strategy=scratch,linear_probe" in line and "2 more jobs" in line


def test_without_it_there_are_none(tmp_path):
    assert told_apart(train(tmp_path, "strategy=full_finetune")) == [("full_finetune", 0)]


@pytest.mark.slow
def test_everything_that_is_swept_is_swept_for_the_twins_too(tmp_path, capsys):
    words = ["strategy=lp_ft,scratch", "seed=0,1", "target.labels=5,6", "twins=true"]
    found = train(tmp_path, "-m", *words)
    strategies = ("linear_probe", "lp_ft", "scratch")
    expected = [(name, seed, labels) for name in strategies for seed in (0, 1) for labels in (5, 6)]
    assert told_apart(found, "target.labels") == expected
    numbers = [line.split("]")[0] for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert numbers == [f"[{number:2d}/12" for number in range(1, 13)]


def test_what_belongs_to_the_strategy_does_not_reach_the_twins(tmp_path):
    words = ["strategy=l2_sp", "strategy.losses.l2_sp.weight=0.1,0.01", "strategy/freezing=gradual_unfreezing"]
    found = train(tmp_path, "-m", *words, "strategy.lr_decay=0.5", "twins=true")
    assert Counter(record["axes"]["strategy"] for record in found) == {"l2_sp": 2, "scratch": 1, "linear_probe": 1}
    plain = {record["run_id"] for record in train(tmp_path / "plain", "-m", "strategy=scratch,linear_probe")}
    assert {r["run_id"] for r in found if r["axes"]["strategy"] != "l2_sp"} == plain


def test_a_presets_own_parameters_are_swept_without_its_strategies(tmp_path):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "ours.yaml").write_text(PRESET)
    words = ["sweep", "ours", *(word for word in TINY if word != "target.labels=6"), f"paths.runs={tmp_path}/runs"]
    assert cli.main([*words, "seed=4"]) == 0
    found = records(tmp_path / "runs", "ours")
    decayed = [("l2_sp", 4, labels, decay) for labels in (5, 6) for decay in (0.8, 0.9)]
    twin = [(name, 4, labels, 1.0) for name in ("linear_probe", "scratch") for labels in (5, 6)]
    assert told_apart(found, "target.labels", "strategy.lr_decay") == sorted(decayed + twin)
    assert {record["config"]["optimizer"]["lr"] for record in found} == {0.02}


def test_nothing_is_done_twice(tmp_path, capsys):
    train(tmp_path, "-m", "strategy=scratch,linear_probe")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("run.json")}
    train(tmp_path, "strategy=full_finetune", "twins=true")
    assert capsys.readouterr().err.count("finished before, skipped") == 2
    found = train(tmp_path, "strategy=full_finetune", "twins=true")
    assert capsys.readouterr().err.count("finished before, skipped") == 3
    assert len(found) == 3
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_whether_twins_were_asked_for_is_no_part_of_a_run_or_its_saved_config(tmp_path):
    (one,) = train(tmp_path / "one", "strategy=full_finetune")
    three = train(tmp_path / "three", "strategy=full_finetune", "twins=true")
    assert one["run_id"] in {record["run_id"] for record in three}
    assert {record["config"]["twins"] for record in three} == {False}
    folder = tmp_path / "three" / "default" / one["run_id"]
    again = ["train", "--config-dir", str(folder), "--config-name", "config", f"paths.runs={tmp_path}/again"]
    assert cli.main(again) == 0
    assert [record["run_id"] for record in records(tmp_path / "again")] == [one["run_id"]]


def test_a_failing_run_does_not_keep_its_twins_from_running_and_counts(tmp_path, capsys):
    found = train(tmp_path, "strategy=surgical", "strategy.freezing.train=[nothing]", "twins=true", status=1)
    assert {record["axes"]["strategy"]: record["status"] for record in found} == {
        "surgical": "failed",
        "scratch": "finished",
        "linear_probe": "finished",
    }
    assert "transferlab: " in capsys.readouterr().err.splitlines()[-1]


def test_a_twin_that_fails_shows_in_the_exit_status(tmp_path, monkeypatch):
    from transferlab import train as room

    run = room.run

    def broken(config):
        if config.axes.strategy == "linear_probe":
            raise InputError("the probe is broken")
        return run(config)

    monkeypatch.setattr(room, "run", broken)
    found = train(tmp_path, "strategy=full_finetune", "twins=true", status=1)
    assert {record["axes"]["strategy"] for record in found} == {"full_finetune", "scratch"}


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["strategy=l2_sp"], "strategy=scratch,linear_probe"),
        (["strategy=l2_sp,scratch"], "strategy=linear_probe"),
        (["strategy=glob([lp_*,scr*])"], "strategy=linear_probe"),
        (["strategy=choice(linear_probe,joint)"], "strategy=scratch"),
        ([], "strategy=scratch,linear_probe"),
    ],
    ids=" ".join,
)
def test_only_twins_that_are_not_asked_for_are_added(words, kept):
    assert command(*words, "seed=0,1", "twins=true") == [kept, "seed=0,1", "twins=true", "hydra.sweeper.params=null"]


@pytest.mark.parametrize(
    "word",
    [
        "strategy.lr_decay=0.5",
        "++strategy.lr_decay=0.5",
        "strategy.losses.l2_sp.weight=1,2",
        "strategy/freezing=gradual,full",
        "+strategy/loss@strategy.losses.other=l2_sp",
        "~strategy.losses.l2_sp",
        "axes.strategy=mine",
        "hydra.mode=MULTIRUN",
    ],
)
def test_every_way_of_changing_a_strategy_is_left_out(word):
    assert command("strategy=l2_sp", word, "twins=true") == command("strategy=l2_sp", "twins=true")


@pytest.mark.parametrize("word", ["trainer.strategy=auto,ddp", "optimizer.lr=0.1,0.2", "+hydra.job.env_set.X=1"])
def test_what_is_not_the_strategys_stays(word):
    assert word in command("strategy=l2_sp", word, "twins=true")


@pytest.mark.parametrize("words", [["strategy=l2_sp"], ["strategy=scratch,linear_probe,l2_sp", "twins=true"]])
def test_nothing_is_added_where_nothing_is_missing(words):
    assert command(*words) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "seed=0,1", "optimizer.lr=interval(0.01,0.1)"], "optimizer.lr=interval(0.01,0.1) is searched"),
        (["hydra.sweeper._target_=hydra._internal.core_plugins.other.Sweeper"], "other.Sweeper searches"),
        (["-m", "strategy=l2_sp,ful_finetune"], "did you mean 'full_finetune'?"),
        (["-m", "strategy=l2_sp", "sed=0,1"], "did you mean 'seed'?"),
        (["-m", "strategy=l2_sp", "twins=yes please"], "twins"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_before_anything_starts(words, said, tmp_path, capsys):
    assert cli.main(["train", *TINY, f"paths.runs={tmp_path}/runs", "twins=true", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("body", ["strategy: {lr_decay: 0.5}", "defaults: [train, override strategy/freezing: full]"])
def test_a_config_that_changes_its_strategies_itself_is_refused(body, tmp_path):
    defaults = "" if "defaults" in body else "defaults: [train, _self_]\n"
    (tmp_path / "ours.yaml").write_text(f"{defaults}{body}\n")
    with pytest.raises(InputError, match="would be no twin; move these keys to"):
        command("strategy=l2_sp", "twins=true", name="ours", folder=str(tmp_path))


def test_a_config_that_only_chooses_a_strategy_has_twins(tmp_path):
    (tmp_path / "ours.yaml").write_text("defaults: [train, override strategy: l2_sp, _self_]\ntwins: true\n")
    assert command(name="ours", folder=str(tmp_path))[0] == "strategy=scratch,linear_probe"


def test_a_saved_config_has_no_strategy_to_choose(tmp_path, capsys):
    (record,) = train(tmp_path, "strategy=full_finetune")
    folder = tmp_path / "default" / record["run_id"]
    words = ["--config-dir", str(folder), "--config-name", "config", f"paths.runs={tmp_path}/again", "twins=true"]
    assert cli.main(["train", *words]) == 1
    assert "has no strategy to choose" in capsys.readouterr().err


def test_the_second_command_is_checked_without_torch(tmp_path):
    script = (
        "import sys\nfrom transferlab.cli import main\n"
        "assert main(['train', '-m', 'strategy=l2_sp', 'optimizer.lr=interval(0,1)', 'twins=true']) == 1\n"
        "assert main(['train', '-m', 'strategy=l2_sp', 'seed=x', 'twins=true']) == 1\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
