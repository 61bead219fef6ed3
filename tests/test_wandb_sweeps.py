"""Every file of sweeps/wandb: its points are configs of ours, and its runs log what it optimises."""

import math
import random
import shlex
from itertools import product

import pytest
import wandb
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args, load_sweep_config
from wandb.sdk.lib.config_util import save_config_file_from_dict

from test_tracking import read
from transferlab import cli, results
from transferlab.composing import Composer, values
from transferlab.folders import shipped

FILES = sorted((shipped("sweeps") / "wandb").glob("*.yaml"))
KEYS = {"name", "program", "method", "run_cap", "metric", "parameters", "early_terminate", "command"}
DRAWN = 3  # points of a search


def load(file):
    return load_sweep_config(str(file))


def grid(sweep):
    """Every point of a grid."""
    named = sweep["parameters"]
    return [dict(zip(named, choice, strict=True)) for choice in product(*(one["values"] for one in named.values()))]


def points(sweep):
    """Each value of a grid, beside the first ones of the others; some points of a search, with the edges."""
    named = sweep["parameters"]
    if sweep["method"] == "grid":
        first = grid(sweep)[0]
        others = [{**first, name: value} for name, entry in named.items() for value in entry["values"][1:]]
        return [first, *others]
    draw = random.Random(0)
    edges = [{name: place(entry, edge) for name, entry in named.items()} for edge in (0.0, 1.0)]
    return edges + [{name: place(entry, draw.random()) for name, entry in named.items()} for _ in range(DRAWN)]


def place(entry, share):
    if "values" in entry:
        return entry["values"][min(int(share * len(entry["values"])), len(entry["values"]) - 1)]
    assert entry["distribution"] == "log_uniform_values"
    return math.exp(math.log(entry["min"]) + share * (math.log(entry["max"]) - math.log(entry["min"])))


def commanded(sweep, point):
    """The words behind `transferlab` that W&B's agent runs for a point."""
    written = create_sweep_command_args({"args": {name: {"value": value} for name, value in point.items()}})
    command = create_sweep_command(list(sweep["command"]))
    assert command[:3] == ["${env}", "${program}", "train"]
    return [word for chunk in command[3:] for word in (written[chunk[2:-1]] if chunk.startswith("${") else [chunk])]


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The configs of the runs that commands start, which are not trained."""
    configs = []

    def run(config):
        OmegaConf.resolve(config.axes)  # of this job, while Hydra knows it
        configs.append(config)
        return {"status": "finished", "reason": "", "metrics": {"selected": None}, "cost": {}}

    monkeypatch.setattr("transferlab.train.run", run)
    monkeypatch.chdir(tmp_path)
    return configs


@pytest.fixture
def agent(monkeypatch, tmp_path):
    """Has a point of a sweep be asked for as W&B's agent does it."""

    def ask(words, point):
        file = tmp_path / "wandb" / "sweep-1" / "config-2.yaml"
        save_config_file_from_dict(str(file), {name: {"value": value} for name, value in point.items()})
        monkeypatch.setenv("WANDB_SWEEP_ID", "1")
        monkeypatch.setenv("WANDB_RUN_ID", "2")
        monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(file))
        try:
            return cli.main(["train", *words])
        finally:
            for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
                monkeypatch.delenv(name)

    return ask


def twin(file):
    """The Hydra command that the head of a file names."""
    (line,) = (line for line in file.read_text().splitlines() if line.startswith("# transferlab "))
    return shlex.split(line.removeprefix("# transferlab "))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_point_of_a_sweep_is_a_run_with_the_values_asked_for(file, agent, started):
    sweep = load(file)
    for point in points(sweep):
        assert agent(commanded(sweep, point), point) == 0
        config = started[-1]
        for name, value in point.items():
            found = config.axes.strategy if name == "strategy" else OmegaConf.select(config, name)
            assert found == value, name
        assert config.study == file.stem
        assert config.target.validation > 0, "what a sweep optimises is scored on labels held out"
    assert len({results.run_id(config) for config in started}) == len(started)


@pytest.mark.slow
@pytest.mark.parametrize("file", [file for file in FILES if load(file)["method"] == "grid"], ids=lambda file: file.stem)
def test_a_grid_has_the_runs_of_the_study_that_hydra_sweeps(file, agent, started):
    sweep = load(file)
    assert cli.main(twin(file)) == 0
    hydras = {results.run_id(config) for config in started}
    started.clear()
    for point in points(sweep):
        assert agent(commanded(sweep, point), point) == 0
    assert {results.run_id(config) for config in started} <= hydras
    assert len(hydras) == len(grid(sweep))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_searches_what_the_study_of_its_name_sweeps_and_says_how_that_starts(file):
    sweep = load(file)
    assert twin(file) == ["sweep", file.stem]
    with Composer(file.stem, str(shipped("sweeps"))) as composer:
        plan = composer.check([], multirun=False)
    swept = {one.get_key_element(): values(one) for one in plan.overrides}
    assert swept.keys() == sweep["parameters"].keys() | {"seed"}
    for name, entry in sweep["parameters"].items():
        if "values" in entry:
            assert [str(value) for value in entry["values"]] == swept[name]
        else:
            assert (entry["min"], entry["max"]) == (float(swept[name][0]), float(swept[name][-1]))
    for word in sweep["command"][3:-1]:
        key, _, value = word.partition("=")
        known = plan.config.hydra.runtime.choices
        assert str(known[key] if key in known else OmegaConf.select(plan.config, key)) == value, key


def test_there_is_a_file_for_every_method_and_one_that_stops_early():
    sweeps = [load(file) for file in FILES]
    assert {sweep["method"] for sweep in sweeps} == {"grid", "random", "bayes"}
    assert any("early_terminate" in sweep for sweep in sweeps)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_says_what_wandb_asks_of_a_sweep_and_nothing_else(file):
    sweep = load(file)
    assert sweep.keys() <= KEYS
    assert (sweep["name"], sweep["program"]) == (file.stem, "transferlab")
    assert sweep["metric"]["goal"] == "maximize"
    assert sweep["command"][:3] == ["${env}", "${program}", "train"]
    assert sweep["command"][-1] == "${args_no_hyphens}"
    # a search has no end of its own
    assert ("run_cap" in sweep) == (sweep["method"] != "grid")
    for entry in sweep["parameters"].values():
        assert entry.keys() in ({"values"}, {"distribution", "min", "max"})
        if "distribution" in entry:
            assert sweep["method"] != "grid"
            assert 0 < entry["min"] < entry["max"]
    stop = sweep.get("early_terminate", {"type": "hyperband", "min_iter": 1})
    assert stop["type"] == "hyperband"


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_sweep_optimises_is_logged_once_an_epoch(file, agent, tmp_path):
    sweep = load(file)
    point = points(sweep)[-1]
    small = [word for word in commanded(sweep, point) if not word.startswith("trainer.max_epochs")]
    small += ["source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10"]
    small += ["target=digits", "target.labels=6"] if "target.labels" not in point else []
    small += ["backbone.widths=[4,8,8]", "trainer.max_epochs=2", "tracker.mode=offline", f"paths.runs={tmp_path}"]
    assert agent([word for word in small if word != "source=mnist5k"], point) == 0
    wandb.teardown()
    (log,) = [log for log in map(read, tmp_path.rglob("*.wandb")) if log.run is not None and log.run.run_id == "2"]
    assert len(log.series(sweep["metric"]["name"])) == 2
