"""SIGTERM to a whole process group does not reach W&B's helper: what is logged after it is kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="this system has no process groups"),
]

# a run that takes no notice of the signal, as a job of submitit's
RUN = """
import os, signal, sys
from transferlab import connection
from transferlab.tracking import _Guarded

signal.signal(signal.SIGTERM, signal.SIG_IGN)
run, _ = connection.start(("offline",), 30, project="p", id="one", dir=sys.argv[1])
logger = _Guarded(experiment=run)
logger.log_metrics({"before": 1})
os.killpg(os.getpgrp(), signal.SIGTERM)
for number in range(100):
    logger.log_metrics({"after": 1})
run.summary.update({"at_last": 1})
run.finish()
assert not logger._lost
"""


def test_what_is_logged_after_a_sigterm_to_the_group_is_kept(tmp_path: Path) -> None:
    words = [sys.executable, "-c", RUN, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, start_new_session=True)
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.rglob("*.wandb")
    assert b"at_last" in log.read_bytes()
