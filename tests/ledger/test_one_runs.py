"""Of processes that start one run at once one does it; a folder that goes or cannot be written is one sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from studies import TINY

from transferlab import cli

PROCESSES = 8
# All processes fork from one that has imported everything, and start when the last of them is there.
MEETING = """
import multiprocessing, os, sys
from pathlib import Path
import torch
from transferlab import cli, train

torch.set_num_threads(1)
prepared, here = train.prepared, Path.cwd()

def noted(*given, **named):
    (here / f"trained-{os.getpid()}").touch()
    return prepared(*given, **named)

def meet(barrier, number):
    train.prepared = noted
    with open(here / f"said-{number}", "w") as said:
        os.dup2(said.fileno(), 2)
        barrier.wait(60)
        os._exit(cli.main(sys.argv[1:]))

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(PROCESSES)
    started = [context.Process(target=meet, args=(barrier, number)) for number in range(PROCESSES)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    sys.exit(max(process.exitcode for process in started))
"""


@pytest.mark.slow
def test_of_eight_processes_that_start_one_run_at_once_one_runs_and_all_others_see_it(tmp_path):
    script = MEETING.replace("PROCESSES", str(PROCESSES))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, "train", *TINY]
    done = subprocess.run(command, cwd=tmp_path, env=environment, timeout=300)
    said = [(tmp_path / f"said-{number}").read_text() for number in range(PROCESSES)]
    assert done.returncode == 0, said
    assert len(list(tmp_path.glob("trained-*"))) == 1
    (record,) = tmp_path.glob("runs/default/*/run.json")
    assert json.loads(record.read_text())["status"] == "finished"
    assert sum("epoch 0), " in text for text in said) >= 1
    others = [text for text in said if "waiting for another process" in text or "finished before, skipped" in text]
    assert len(others) == PROCESSES - 1, said


def gone(path):
    shutil.rmtree(path)


def no_folder(path):
    shutil.rmtree(path)
    Path(path).touch()


@pytest.mark.parametrize("trouble", [gone, no_folder])
def test_a_study_that_goes_while_a_run_trains_is_one_sentence(trouble, tmp_path, monkeypatch, capsys):
    from transferlab.history import History

    ended = History.on_train_epoch_end

    def and_then(self, *given):
        ended(self, *given)
        trouble(tmp_path / "runs" / "default")

    monkeypatch.setattr(History, "on_train_epoch_end", and_then)
    assert cli.main(["train", *TINY]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("computing with")]
    (line,) = said
    assert line.startswith("transferlab: cannot write to runs/default/")
    assert line.endswith("free it or set paths.runs to another folder")


@pytest.mark.parametrize("words", [[], ["-m", "seed=0,1"]])
def test_a_study_that_cannot_be_written_is_one_sentence_before_anything_starts(words, tmp_path, capsys):
    (tmp_path / "runs").touch()
    assert cli.main(["train", *TINY, *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("transferlab: cannot write to runs/default: ") and line.endswith("to another folder")
