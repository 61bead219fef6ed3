"""The command: what there is, what a run is, where it lies, and that nothing is done twice."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from transferlab import __version__, cli, pretraining, results
from transferlab.composing import Composer
from transferlab.folders import shipped

DIGITS = ["source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10"]
TINY = [
    "target=digits",
    "target.labels=6",
    "batch_size=16",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "backbone.widths=[4,8]",
    "backbone.input.shape=[1,8,8]",
    "tracker=none",
]
GROUPS = {
    "strategies": "strategy",
    "sources": "source",
    "targets": "target",
    "backbones": "backbone",
    "tasks": "task",
    "optimizers": "optimizer",
    "schedulers": "scheduler",
    "selections": "selection",
    "trainers": "trainer",
    "trackers": "tracker",
    "freezings": "strategy/freezing",
    "losses": "strategy/loss",
    "strategy/weight": "strategy/weight",
}
OURS = """# Ours: a strategy that no one has shipped
defaults:
  - _base
  - freezing: top_k
  - _self_
freezing:
  k: 0
"""


@pytest.fixture(autouse=True)
def away_from_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TRANSFERLAB_TRUST", "TRANSFERLAB_JOBS", "TRANSFERLAB_PARENT", "HYDRA_FULL_ERROR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def train(runs: Path, *words: str) -> None:
    assert cli.main(["train", *TINY, f"paths.runs={runs}", *words]) == 0


def the_run(runs: Path, study: str = "default") -> tuple[Path, dict]:
    (file,) = (runs / study).glob("*/run.json")
    return file.parent, json.loads(file.read_text())


def outcome(record: dict) -> dict:
    """What a run came to, without how long it took and where it lay."""
    return {key: record[key] for key in ("run_id", "status", "axes", "metrics", "history")}


@pytest.mark.parametrize("word", ["--help", "-h", "help", ""])
def test_help_names_every_command(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word] if word else []) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for command in ("train", "sweep", "status", "retry", "clean", "compare", "list"):
        assert f"transferlab {command}" in out


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"transferlab {__version__}\n"


def test_help_of_train_names_the_axes_and_the_flags_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    for word in ("strategy", "source", "target", "backbone", "l2_sp", "--trust", "--debug", "--config-dir"):
        assert word in out
    # what others build on is no choice
    assert not {file.stem for file in shipped("conf").rglob("_*.yaml")} & set(re.split(r"[\s,]+", out))
    assert not list(tmp_path.iterdir())


def test_cfg_shows_the_config_and_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--cfg", "job", "strategy=l2_sp", "seed=7"]) == 0
    shown = OmegaConf.create(capsys.readouterr().out)
    assert (shown.seed, shown.strategy.losses.l2_sp.alpha) == (7, 0.01)
    assert not list(tmp_path.iterdir())


def test_list_without_a_group_names_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    found = set(capsys.readouterr().out.split())
    folders = {file.parent for file in shipped("conf").rglob("*.yaml")} - {shipped("conf"), shipped("conf") / "hydra"}
    assert len(found) == len(
        folders - {shipped("conf") / "strategy" / "search"}
    )  # beside strategies, nothing to choose
    assert {"strategies", "sources", "targets", "backbones"} <= found
    for group in found:
        assert cli.main(["list", group]) == 0


@pytest.mark.parametrize("word", GROUPS)
def test_list_shows_one_line_for_each_yaml_but_those_that_others_build_on(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["list", word]) == 0
    lines = capsys.readouterr().out.splitlines()
    folder = shipped("conf") / GROUPS[word]
    names = sorted(file.stem for file in folder.glob("*.yaml") if not file.name.startswith("_"))
    assert [line.split()[0] for line in lines] == names
    for name, line in zip(names, lines, strict=True):
        comment = (folder / f"{name}.yaml").read_text().splitlines()[0].removeprefix("# ")
        assert line.split(maxsplit=1)[1] == comment


def test_sweep_without_a_name_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == sorted(file.stem for file in shipped("sweeps").glob("*.yaml"))


def test_a_sweep_of_the_working_folder_runs_and_its_lists_may_be_given_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweeps").mkdir()
    preset = (
        "# Ours\ndefaults: [train, _self_]\nstudy: ours\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1,2'}}}"
    )
    (tmp_path / "sweeps" / "ours.yaml").write_text(preset)
    words = ["source=none", *TINY, f"paths.runs={tmp_path}/runs"]
    assert cli.main(["sweep", "ours", *words, "seed=4,5"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line[:5] for line in said if not line.startswith("computing with")] == ["[1/2]", "[2/2]"]
    seeds = [json.loads(file.read_text())["axes"]["seed"] for file in (tmp_path / "runs" / "ours").glob("*/run.json")]
    assert sorted(seeds) == [4, 5]


def test_a_yaml_by_its_path_is_the_sweep_of_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sweeps" / "strategy").mkdir(parents=True)
    (tmp_path / "sweeps" / "strategy" / "ours.yaml").write_text(OURS)
    preset = (
        "# Ours\ndefaults: [train, {override strategy: ours}, _self_]\nstudy: ours\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1'}}}"
    )
    (tmp_path / "sweeps" / "ours.yaml").write_text(preset)
    words = ["source=none", *TINY, f"paths.runs={tmp_path}/runs"]
    assert cli.main(["sweep", "ours", *words]) == 0
    capsys.readouterr()
    for place in ("sweeps/ours.yaml", str(tmp_path / "sweeps" / "ours.yaml")):
        assert cli.main(["sweep", place, *words]) == 0
        assert capsys.readouterr().err.count("finished before, skipped") == 2


@pytest.mark.parametrize("place", ["nowhere.yaml", "nowhere/ours.yaml", "nowhere/ours", "there.txt", "there"])
def test_a_path_without_a_yaml_is_one_sentence(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there.txt").write_text("defaults: [train]")
    assert cli.main(["sweep", place]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert place in line and "there is no" in line


COMMANDS_WITHOUT_TORCH = [
    (["--help"], 0),
    (["--version"], 0),
    (["list"], 0),
    (["list", "strategies"], 0),
    (["sweep"], 0),
    (["train", "--help"], 0),
    (["train", "--cfg", "job"], 0),
    (["train", "strategy=l2sp"], 1),
    (["train", "optimizer.rate=1"], 1),
    (["train", "seed=x"], 1),
    (["train", "target=folder"], 1),
    (["train", "strategy.freezing._target_=os.system"], 1),
    (["train", "-m", "strategy=scratch,l2sp"], 1),
    (["sweep", "quickstart", "target.label=3"], 1),
    (["compare", "nothing"], 1),
    (["train", "-m", "seed=0,1", "twins=true", "--dry-run"], 0),
    (["sweep", "quickstart", "--dry-run"], 0),
    (["status", "nothing"], 1),
    (["retry", "nothing"], 1),
    (["clean", "nothing"], 1),
]


def test_help_lists_and_typing_errors_do_not_import_torch(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from transferlab.cli import main\n"
        f"for words, status in {COMMANDS_WITHOUT_TORCH!r}:\n"
        "    assert main(words) == status, words\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("transferlab: ")]
    assert len(errors) == sum(status for _, status in COMMANDS_WITHOUT_TORCH)


def test_flags_may_stand_between_overrides(tmp_path: Path) -> None:
    train(tmp_path, "source=none", "-m", "seed=0,1")
    assert len(list((tmp_path / "default").glob("*/run.json"))) == 2


def test_a_users_own_strategy_is_listed_and_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine" / "strategy").mkdir(parents=True)
    (tmp_path / "mine" / "strategy" / "ours.yaml").write_text(OURS)
    mine = ["--config-dir", str(tmp_path / "mine")]
    assert cli.main(["list", "strategies", *mine]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["ours"] == "Ours: a strategy that no one has shipped"
    assert "scratch" in lines
    train(tmp_path / "runs", "source=none", *mine, "strategy=ours")
    _, record = the_run(tmp_path / "runs")
    assert (record["status"], record["axes"]["strategy"]) == ("finished", "ours")
    assert record["history"][0]["trainable"] == ["head"]


def test_a_saved_config_is_the_same_run_again(tmp_path: Path) -> None:
    train(tmp_path / "first", *DIGITS, "strategy=l2_sp", "seed=3", "optimizer.lr=0.02")
    folder, record = the_run(tmp_path / "first")
    again = ["train", "--config-dir", str(folder), "--config-name", "config", f"paths.runs={tmp_path}/second"]
    assert cli.main(again) == 0
    other_folder, other = the_run(tmp_path / "second")
    assert other_folder.name == folder.name
    assert outcome(other) == outcome(record)
    assert other["data"]["fingerprints"] == record["data"]["fingerprints"]


def test_a_study_that_was_moved_is_still_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "here", *DIGITS)
    shutil.move(tmp_path / "here", tmp_path / "there")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "there").rglob("run.json")}
    assert len(before) == 2
    capsys.readouterr()
    train(tmp_path / "there", *DIGITS)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("finished before, skipped: ")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "there").rglob("run.json")} == before


def composed(*words: str) -> DictConfig:
    with Composer() as composer:
        config = composer.config(words)
    HydraConfig.instance().set_config(config)
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


@pytest.fixture(scope="module")
def plain_id() -> str:
    return results.run_id(composed())


@pytest.mark.parametrize(
    "word", ["study=other", "tracker=none", "paths.runs=x", "paths.data=y", "workers=3", "twins=true"]
)
def test_where_a_run_lies_and_who_watches_it_is_no_part_of_its_id(word: str, plain_id: str) -> None:
    assert results.run_id(composed(word)) == plain_id


@pytest.mark.parametrize(
    "word",
    [
        "seed=1",
        "batch_size=33",
        "strategy=scratch",
        "strategy.lr_decay=0.5",
        "source=none",
        "source.pretrain.max_epochs=11",
        "target.labels=10",
        "backbone.widths=[1]",
        "optimizer.lr=0.02",
        "trainer.max_epochs=31",
        "selection=last",
        "oracle=true",
    ],
)
def test_what_a_run_is_is_in_its_id(word: str, plain_id: str) -> None:
    assert results.run_id(composed(word)) != plain_id


@pytest.fixture(scope="module")
def pretraining_id() -> str:
    return results.run_id(pretraining.config_of(composed(*DIGITS)))


@pytest.mark.parametrize(
    "words",
    [
        ["strategy=l2_sp"],
        ["target=mnist5k"],
        ["target.labels=3", "target.validation=0.5"],
        ["seed=5"],
        ["study=other"],
        ["optimizer=adam", "optimizer.lr=0.5", "scheduler=linear", "selection=last"],
        ["batch_size=7", "trainer.max_epochs=3"],
        ["oracle=true", "twins=true"],
        ["trainer.precision=bf16-true", "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=1.0"],
    ],
    ids=" ".join,
)
def test_all_runs_of_a_sweep_share_one_pretraining(words: list[str], pretraining_id: str) -> None:
    assert results.run_id(pretraining.config_of(composed(*DIGITS, *words))) == pretraining_id


@pytest.mark.parametrize(
    "words",
    [
        ["source=mnist5k"],
        ["backbone.widths=[4]"],
        ["source.pretrain.max_epochs=2"],
        ["source.pretrain.seed=${seed}", "seed=1"],
        ["source.pretrain.optimizer.lr=0.5"],
        ["source.pretrain.trainer.precision=bf16-true"],
    ],
    ids=" ".join,
)
def test_another_source_or_net_is_pretrained_anew(words: list[str], pretraining_id: str) -> None:
    digits = [] if words[0].startswith("source=") else DIGITS
    assert results.run_id(pretraining.config_of(composed(*digits, *words))) != pretraining_id


# Two processes meet at the pretraining: each says that it is there, and goes on when the other one is there too.
MEETING = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from transferlab import cli, pretraining

recipe, meeting, me = pretraining.config_of, Path(sys.argv[1]), sys.argv[2]

def together(config, *written):
    (meeting / me).touch()
    while len(list(meeting.iterdir())) < 2:
        time.sleep(0.002)
    return recipe(config, *written)

pretraining.config_of = together
sys.exit(cli.main(sys.argv[3:]))
"""


@pytest.mark.slow
def test_two_processes_that_start_together_pretrain_once_and_one_waits(tmp_path: Path) -> None:
    (tmp_path / "meeting").mkdir()
    words = [*TINY, *DIGITS, "source.pretrain.max_epochs=40", f"paths.runs={tmp_path}/runs"]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING, str(tmp_path / "meeting"), str(seed), "train", *words, f"seed={seed}"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for seed in (0, 1)
    ]
    said = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert sum("waiting for another process that does scratch none->digits" in text for text in said) == 1, said
    folder, record = the_run(tmp_path / "runs", "pretraining")
    assert (record["status"], len(record["history"])) == ("finished", 40)
    runs = [json.loads(file.read_text()) for file in (tmp_path / "runs" / "default").glob("*/run.json")]
    assert sorted(run["axes"]["seed"] for run in runs) == [0, 1]
    assert {run["data"]["source_weights"] for run in runs} == {str(folder / "selected.pt")}
    weights = (folder / "selected.pt").stat().st_mtime_ns
    assert all(
        weights <= (tmp_path / "runs" / "default" / run["run_id"] / "run.json").stat().st_mtime_ns for run in runs
    )


def test_a_second_strategy_finds_the_source_pretrained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, *DIGITS)
    assert "pretraining convnet on digits" in capsys.readouterr().err
    folder, _ = the_run(tmp_path, "pretraining")
    before = {
        file: file.stat().st_mtime_ns for file in (folder, *folder.iterdir())
    }  # nobody holds it, even for a moment
    train(tmp_path, *DIGITS, "strategy=linear_probe", "seed=1")
    assert "pretraining" not in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in (folder, *folder.iterdir())} == before
