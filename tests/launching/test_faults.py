"""Nothing lost, nothing twice: a study whose processes are killed at random ends as in peace (benchmarks/faults)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parents[2] / "benchmarks" / "faults"
pytestmark = pytest.mark.slow


def test_a_study_under_fire_ends_with_every_run_once_and_as_in_peace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "--launcher",
        "joblib",
        "--runs",
        "8",
        "--kills",
        "3",
        "--seed",
        "0",
        "--delay",
        "0.3",
        "--folder",
        str(tmp_path),
    ]
    done = subprocess.run([sys.executable, FAULTS / "study.py", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert (said["finished"], said["equal"] + said["almost"], sum(said["kills"].values())) == (8, 8, 3)
    assert said["equal"] >= 4

    monkeypatch.syspath_prepend(FAULTS)
    import findings

    run, other = sorted((tmp_path / "joblib" / "runs" / "faults").glob("*/run.json"))[:2]
    run.write_text(run.read_text().replace('"labels_seen": ', '"labels_seen": 1'))
    (other.parent / ".run.json-abcd1234").touch()
    other.with_name("selected.pt").write_bytes(run.with_name("selected.pt").read_bytes())
    found = findings.compared(tmp_path / "joblib" / "runs", tmp_path / "peace" / "runs", "faults")
    assert (found["finished"], found["equal"] + found["almost"], found["half_written"]) == (8, 6, 1)
