"""How many processes a run asks for, and what of it is refused before anything trains."""

from pathlib import Path

import pytest
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from omegaconf import OmegaConf

from transferlab import cli
from transferlab.errors import InputError
from transferlab.processes.counting import count, on_this_machine, outside

TWO = {"accelerator": "cpu", "strategy": "ddp_fork", "devices": 2}
OURS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_JOB_NAME")


@pytest.fixture(autouse=True)
def by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in OURS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("asked", "processes"),
    [
        ({}, 2),
        ({"devices": "3"}, 3),
        ({"devices": [0, 2]}, 2),
        ({"devices": "0,1,2"}, 3),
        ({"devices": "1,"}, 1),
        ({"devices": "auto"}, 1),
        ({"num_nodes": 4}, 8),
        ({"devices": 1, "strategy": "fsdp"}, 1),
        ({"strategy": "ddp_find_unused_parameters_false"}, 2),
    ],
    ids=str,
)
def test_there_is_one_for_each_device(asked: dict, processes: int) -> None:
    assert count(OmegaConf.create(TWO | asked)) == processes


def test_those_that_share_a_machine_divide_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_this_machine(OmegaConf.create(TWO)) == 2
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert on_this_machine(OmegaConf.create(TWO)) == 1  # who started them has done so


def test_who_started_processes_is_known_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outside(2) is None
    monkeypatch.setenv("SLURM_NTASKS", "1")  # a job of one task starts the others itself
    assert outside(2) is None
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with pytest.raises(InputError, match="--ntasks-per-node=2"):
        outside(2)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert isinstance(outside(2), SLURMEnvironment)
    monkeypatch.delenv("SLURM_NTASKS")
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert isinstance(outside(2), TorchElasticEnvironment)
    with pytest.raises(InputError, match="torchrun started 2 processes, and the run asks for 4"):
        outside(4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trainer.strategy=fsdp",), "each process of a run holds the whole net"),
        (("+trainer.num_nodes=2",), "have srun or torchrun start the processes"),
        (("batch_size=3",), "set batch_size=4 or more, or fewer trainer.devices"),
        (("strategy=linear_probe_lbfgs",), "is solved for, by one process: set trainer.devices=1"),
        (("optimizer=dp_sgd",), "takes plain steps: one device"),
    ],
    ids=str,
)
def test_what_several_processes_cannot_do_is_refused(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("source=none", "strategy.start=random", "target=digits", "target.labels=6", "tracker=none")
    whole = ("train", "strategy=scratch", *few, "trainer.accelerator=cpu", "trainer.devices=2")
    assert cli.main([*whole, "trainer.strategy=ddp_fork", *words]) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]
