"""What the ledger asks of a file system: each record once, several at a time, whatever lies beside them."""

import os
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from studies import TINY, begun, listed, missing, record

from transferlab import cli, results
from transferlab.ledger.runs import Ledger

WORDS = ["study=s", "strategy=scratch,full_finetune", "seed=0,1"]
_opened: Counter[str] | None = None


def _audit(event: str, given: tuple[object, ...]) -> None:
    if _opened is not None and event == "open" and str(given[0]).endswith("run.json"):
        _opened[Path(str(given[0])).parent.name] += 1


sys.addaudithook(_audit)  # for good, and deaf but in these tests


@pytest.fixture
def opened(monkeypatch):
    """How often the record of each run is opened."""
    found: Counter[str] = Counter()
    monkeypatch.setattr(sys.modules[__name__], "_opened", found)
    return found


@pytest.fixture
def stats(monkeypatch):
    """Of which names the system was asked for attributes."""
    found: list[str] = []
    stat = os.stat

    def noted(path, *given, **more):
        found.append(os.path.basename(str(path)))
        return stat(path, *given, **more)

    monkeypatch.setattr(os, "stat", noted)
    return found


def study(monkeypatch, capsys):
    """Four runs that a command asked for: one finished, one failed, one missing; and one finished beside them."""
    begun(monkeypatch, *WORDS)
    first, second, third, _ = [Path("runs/s", name) for name in missing(capsys, "s")]
    record(first, "finished", 10.0)
    record(second, "failed", 1.0, "InputError: broken", seed=1)
    record(third, "diverged", 1.0, strategy="full_finetune")
    return [first, second, third, record(Path("runs/s/beside"), "finished", 20.0, seed=9)]


@pytest.mark.parametrize("words", [["status", "s"], ["retry", "s", "--dry-run"], ["clean", "s", "--yes"]], ids=" ".join)
def test_a_command_opens_each_record_once(words, monkeypatch, capsys, opened):
    runs = study(monkeypatch, capsys)
    opened.clear()
    assert cli.main(words) == 0
    again = [runs[1]] if words[0] == "clean" else []  # which is looked at once more before it is removed
    assert opened == Counter(run.name for run in [*runs, *again])


def test_so_does_a_rehearsal_and_what_lies_beside_is_known_to_its_estimate(monkeypatch, capsys, opened):
    runs = study(monkeypatch, capsys)
    opened.clear()
    lines = listed(capsys, "train", "-m", *TINY, *WORDS, "--dry-run")
    assert opened == Counter(run.name for run in runs)
    assert "4 runs: 1 finished, 1 diverged, 1 failed, 1 missing; 2 would run now" in lines
    assert not any("beside" in line for line in lines)


def test_one_look_asks_for_no_attributes_and_many_looks_read_once(monkeypatch, capsys, opened, stats):
    study(monkeypatch, capsys)
    stats.clear()
    Ledger(Path("runs/s")).look()
    assert "run.json" not in stats
    opened.clear()
    ledger = Ledger(Path("runs/s"), again=True)
    for _ in range(3):
        ledger.look()
    assert sorted(opened.values()) == [1, 1, 1, 3]  # but the failed one, which may begin again


def test_records_are_waited_for_together(monkeypatch, capsys):
    for seed in range(8):
        record(Path(f"runs/s/{seed}"), "finished", 1.0, seed=seed)
    together = threading.Barrier(8, timeout=60)
    read = results.read

    def slow(run):
        together.wait()  # none of them is done before all have begun
        return read(run)

    monkeypatch.setattr(results, "read", slow)
    assert listed(capsys, "status", "s") == ["s, 8 runs: 8 finished"]
