"""A run killed at any step and started again by the same command is the run that was never killed, bit for bit."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

import transferlab.train  # noqa: F401  (imported before the processes fork, once for all)
from transferlab import cli
from transferlab.module import TransferModule

BATCHES = 4  # 50 training samples in batches of 16
EPOCHS = 4
STRATEGIES = {
    "linear_probe": [],
    "gradual_unfreezing": ["strategy.freezing.every=1"],
    "l2_sp": [],
    "joint": [],
    "kd": [],
    "swa": ["strategy.averaging.start=0.3"],
}
# the second step of the first epoch, the first after an unfreezing, the last of all
STEPS = {"first epoch": 1, "unfreezing boundary": 2 * BATCHES, "last epoch": EPOCHS * BATCHES - 1}

# every strategy goes on after Ctrl-C in tests/matrix/test_resuming.py; these are killed

pytestmark = pytest.mark.slow


def command(strategy: str, runs: Path, study: str, *more: str) -> list[str]:
    return [
        "train",
        f"strategy={strategy}",
        *STRATEGIES[strategy],
        "source=digits",
        "target.labels=6",
        "batch_size=16",
        f"trainer.max_epochs={EPOCHS}",
        "source.pretrain.max_epochs=1",
        "source.pretrain.target.labels=20",
        "backbone.widths=[4,8]",
        "oracle=true",
        "tracker=none",
        f"study={study}",
        f"paths.runs={runs}",
        *more,
    ]


def in_a_process(words: list[str], kill_at: int | None = None) -> tuple[int, int | None]:
    """Run a command in a process of its own, killed before that step; its exit code and the first step it did."""
    fork = multiprocessing.get_context("fork")
    first = fork.Value("i", -1)
    child = fork.Process(target=_run, args=(words, kill_at, first))
    child.start()
    child.join()
    return child.exitcode, first.value


def _run(words: list[str], kill_at: int | None, first) -> None:
    torch.set_num_threads(1)
    step = TransferModule.training_step

    def deadly(module, batch, batch_idx):
        if module.trainer.max_epochs == EPOCHS:
            if first.value < 0:
                first.value = module.global_step
            if module.global_step == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return step(module, batch, batch_idx)

    TransferModule.training_step = deadly
    os._exit(cli.main(words))


def outcome(study: Path) -> tuple[dict, dict, dict]:
    """Everything of a study's one run that may not depend on when it was killed."""
    folder = the_run(study)
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "finished"
    weights = {file: torch.load(folder / file, weights_only=True) for file in ("selected.pt", "last.pt")}
    same = {key: record[key] for key in ("run_id", "axes", "metrics", "history", "data", "report")}
    cost = {key: record["cost"][key] for key in ("samples", "trainable_parameters", "total_parameters", "flops")}
    return weights, same, cost


def the_run(study: Path) -> Path:
    (folder,) = (path for path in study.iterdir() if path.is_dir())
    return folder


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_and_started_again_equals_never_killed(strategy: str, tmp_path: Path) -> None:
    check(strategy, STEPS, tmp_path)


def test_a_regressions_unit_is_the_same_when_it_is_started_again(tmp_path: Path) -> None:
    task = ("task=regression", "task@source.pretrain.task=regression")
    check("joint", {"unfreezing boundary": 2 * BATCHES}, tmp_path, *task)


def test_in_double_precision_it_is_the_same_when_it_is_started_again(tmp_path: Path) -> None:
    check("joint", {"unfreezing boundary": 2 * BATCHES}, tmp_path, "trainer.precision=64-true")


@pytest.mark.parametrize("augmentation", ["strong", "mixup_cutmix"])
def test_augmented_samples_are_the_same_when_it_is_started_again(augmentation: str, tmp_path: Path) -> None:
    check("joint", {"unfreezing boundary": 2 * BATCHES}, tmp_path, f"augmentation={augmentation}")


def test_augmented_samples_are_the_same_with_loader_processes(tmp_path: Path) -> None:
    for workers in (0, 2):
        words = command("joint", tmp_path, f"with_{workers}", "augmentation=strong", f"workers={workers}")
        assert in_a_process(words) == (0, 0)
    alone, helped = (outcome(tmp_path / f"with_{workers}") for workers in (0, 2))
    assert helped[1:] == alone[1:]
    for file, weights in alone[0].items():
        assert all(torch.equal(weights[key], helped[0][file][key]) for key in weights)


def check(strategy: str, steps: dict[str, int], runs: Path, *more: str) -> None:
    assert in_a_process(command(strategy, runs, "whole", *more)) == (0, 0)
    weights, record, cost = outcome(runs / "whole")
    for place, step in steps.items():
        study = place.replace(" ", "_")
        words = command(strategy, runs, study, *more)
        assert in_a_process(words, kill_at=step)[0] == -signal.SIGKILL
        assert json.loads((the_run(runs / study) / "run.json").read_text())["status"] == "interrupted"
        # it goes on from the start of the epoch in which it was killed
        assert in_a_process(words) == (0, step // BATCHES * BATCHES)
        again, same_record, same_cost = outcome(runs / study)
        assert same_record == record, place
        assert same_cost == cost, place
        for file in weights:
            assert weights[file].keys() == again[file].keys()
            assert all(torch.equal(weights[file][key], again[file][key]) for key in weights[file]), (place, file)
