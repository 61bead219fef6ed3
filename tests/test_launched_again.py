"""A sweep is not started again from its beginning by a back-end that starts the command once for each device."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from transferlab import checks, cli
from transferlab.errors import InputError

WORDS = ["train", "source=none", "strategy=scratch", "target=digits", "trainer.accelerator=cpu", "tracker=none"]
TWO = {"accelerator": "cpu", "strategy": "ddp", "devices": 2}


@pytest.fixture(autouse=True)
def by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SLURM_NTASKS", "SLURM_JOB_NAME", "LOCAL_RANK", "TRANSFERLAB_PARENT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"strategy": "auto"},
        {"strategy": "ddp_find_unused_parameters_true"},
        {"strategy": "fsdp", "accelerator": "gpu", "devices": "0,1"},
        {"devices": [0, 1]},
        {"devices": -1, "accelerator": "gpu"},
        {"devices": "auto", "accelerator": "auto"},
        {"devices": 1, "num_nodes": 2},
    ],
    ids=str,
)
def test_what_starts_the_command_again_is_refused(asked: dict) -> None:
    with pytest.raises(InputError, match=r"with it the whole sweep: set trainer\.devices=1"):
        checks.launched_again(OmegaConf.create(TWO | asked))


@pytest.mark.parametrize(
    "asked",
    [
        {"strategy": "ddp_fork"},
        {"strategy": "ddp_spawn_find_unused_parameters_true"},
        {"devices": 1},
        {"devices": [1]},
        {"devices": "auto"},
        {"strategy": "auto", "devices": 1, "accelerator": "auto"},
    ],
    ids=str,
)
def test_what_starts_processes_or_none_is_not(asked: dict) -> None:
    checks.launched_again(OmegaConf.create(TWO | asked))


@pytest.mark.parametrize("variable", ["SLURM_NTASKS", "LOCAL_RANK"])
def test_where_somebody_else_starts_the_processes_it_is_not(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "2")
    checks.launched_again(OmegaConf.create(TWO))


def test_an_interactive_shell_of_slurms_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    with pytest.raises(InputError):
        checks.launched_again(OmegaConf.create(TWO))


def test_a_sweep_that_would_is_refused_before_any_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*WORDS, "-m", "seed=0,1", "trainer.devices=2", "trainer.strategy=ddp"]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("transferlab: trainer.strategy=ddp with trainer.devices=2 starts the command again")
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_job_that_would_is_refused_alone(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["target.labels=6", "trainer.max_epochs=1", "+trainer.num_nodes=1,2"]
    assert cli.main([*WORDS, "-m", *few]) == 1
    assert capsys.readouterr().err.count("starts the command again") == 2  # in its line, and last
    assert [json.loads(file.read_text())["status"] for file in Path("runs").glob("*/*/run.json")] == ["finished"]
