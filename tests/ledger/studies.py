"""Studies as commands leave them, without a second of training."""

import subprocess
import sys
from pathlib import Path

from transferlab import cli, results
from transferlab.composing import Composer
from transferlab.migrations import SCHEMA

TINY = [
    "source=none",
    "target=digits",
    "target.labels=6",
    "batch_size=16",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "backbone.widths=[4,8]",
    "backbone.input.shape=[1,8,8]",
    "tracker=none",
]
HOLDER = """
import sys
from pathlib import Path
from transferlab import results

with results.held(Path(sys.argv[1]), "waiting") as pulse:
    pulse.follow({"history": [{}, {}]}, 7)
    pulse._write()
    print("in", flush=True)
    sys.stdin.readline()
"""


def begun(monkeypatch, *words):
    """A multirun whose launcher died at once."""
    with monkeypatch.context() as patch:
        patch.setattr(Composer, "launch", lambda *_: None)
        assert cli.main(["train", "-m", *TINY, *words]) == 0


def listed(capsys, *words):
    """What a command says, line by line."""
    capsys.readouterr()
    assert cli.main(list(words)) == 0
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def missing(capsys, study):
    """Ids of the runs that are missing, and what they are."""
    lines = listed(capsys, "retry", study, "--only", "missing", "--dry-run")
    return dict(line.split(maxsplit=2)[1:] for line in lines if line.startswith("missing"))


def record(run, status, seconds=None, reason="", overrides=(), **axes):
    """A run that ended so."""
    run.mkdir(parents=True, exist_ok=True)
    about = {"source": "none", "target": "digits", "strategy": "scratch", "backbone": "convnet", "seed": 0, **axes}
    told = {"schema": SCHEMA, "run_id": run.name, "study": run.parent.name, "status": status, "reason": reason}
    results.write(run, {**told, "axes": about, "overrides": list(overrides), "cost": {"seconds": seconds}})
    return run


def holder(run: Path) -> subprocess.Popen:
    """A process that does a run, two of seven epochs being over, until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "in\n"
    return process
