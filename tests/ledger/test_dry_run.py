"""`--dry-run` lists runs, counts what is finished, says what its estimate is from, and neither writes nor starts."""

from pathlib import Path

from studies import TINY, begun, listed, missing, record

from transferlab import cli

WORDS = ["study=s", "strategy=scratch,full_finetune", "seed=0,1"]


def rehearsed(capsys, *words):
    return listed(capsys, "train", "-m", *TINY, *words, "--dry-run")


def test_nothing_is_written_and_no_launcher_is_made(tmp_path, capsys):
    lines = rehearsed(capsys, *WORDS, "hydra.launcher._target_=hydra_plugins.nowhere.Launcher")
    assert len(lines) == 4 + 2
    assert lines[4:] == [
        "4 runs: 4 missing; 4 would run now",
        "time left: unknown, as no run with these axes has finished (4 runs)",
    ]
    assert not list(tmp_path.iterdir())


def test_twins_and_the_lists_of_a_preset_are_among_the_runs(tmp_path, capsys):
    Path("sweeps").mkdir()
    preset = "defaults: [train, _self_]\ntwins: true\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1'}}}"
    Path("sweeps/ours.yaml").write_text(preset)
    lines = listed(capsys, "sweep", "ours", *TINY, "strategy=l2_sp", "--dry-run")
    assert [line.split()[2] for line in lines[:6]] == ["l2_sp"] * 2 + ["scratch"] * 2 + ["linear_probe"] * 2


def test_the_estimate_takes_the_nearest_records_and_says_which(monkeypatch, capsys):
    begun(monkeypatch, *WORDS, "optimizer.lr=0.1,0.2")
    found = {text: Path("runs/s", name) for name, text in missing(capsys, "s").items()}
    both = [*TINY, *WORDS[:1], "strategy=scratch"]
    done = found["scratch none->digits convnet seed=0 optimizer.lr=0.1"]
    record(done, "finished", 3600.0, overrides=[*both, "optimizer.lr=0.1", "seed=0"])
    record(Path("runs/other/x"), "finished", 7200.0, strategy="full_finetune")
    record(Path("runs/other/y"), "failed", 9.0, strategy="full_finetune", seed=1)
    lines = rehearsed(capsys, *WORDS, "optimizer.lr=0.1,0.2")
    assert sum(line.startswith("finished") for line in lines) == 1
    assert lines[-3:] == [
        "8 runs: 1 finished, 7 missing; 7 would run now",
        "time left: about 11.0 h for one process",
        "  (1 by finished runs of this study that differ in the seed alone; "
        "2 by finished runs of this study with the same source, target, strategy and backbone; "
        "4 by finished runs of other studies with the same source, target, strategy and backbone)",
    ]


def test_what_is_over_is_not_run_and_costs_nothing(monkeypatch, capsys):
    begun(monkeypatch, *WORDS)
    first, second, *rest = [Path("runs/s", name) for name in missing(capsys, "s")]
    record(first, "finished", 100.0)
    record(second, "diverged")
    for run in rest:
        record(run, "failed", 5.0, "InputError: broken")
    lines = rehearsed(capsys, *WORDS)
    assert lines[4] == "4 runs: 1 finished, 1 diverged, 2 failed; 2 would run now"
    assert sum(line.startswith("failed") and line.endswith("InputError: broken") for line in lines) == 2


def test_a_sweeper_that_searches_is_one_sentence(capsys):
    assert cli.main(["train", "-m", *TINY, "optimizer.lr=interval(0.1,0.2)", "--dry-run"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "searches; list values instead" in line
