"""What W&B's agent writes, by its own functions, is what a run of the real command is composed of."""

import json

import pytest
import wandb
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args
from wandb.sdk.lib.config_util import save_config_file_from_dict

from test_tracking import STEPS, TINY, read
from transferlab import cli, train

VALUES = {
    "nothing": ("trainer.gradient_clip_val", None),
    "a float": ("optimizer.lr", 0.1),
    "a small float": ("optimizer.lr", 1e-05),
    "a large float": ("optimizer.lr", 1e20),
    "a whole number": ("trainer.max_epochs", 3),
    "true": ("oracle", True),
    "false": ("oracle", False),
    "a list": ("backbone.widths", [4, 8]),
    "a list of words": ("tracker.tags", ["one", "two words", "a,b", "it's", "x=1", "[open"]),
    "a list with nothing in it": ("tracker.tags", []),
    "a list of nothing": ("tracker.tags", [None, True, 0.5]),
    "a word": ("tracker.project", "mine"),
    "a word with blanks": ("tracker.project", "my own project"),
    "blanks around it": ("tracker.project", " mine "),
    "no word": ("tracker.project", ""),
    "a comma": ("tracker.project", "a,b"),
    "an equals sign": ("tracker.project", "a=b"),
    "a bracket": ("tracker.project", "[a"),
    "quotes": ("tracker.project", 'it\'s "mine"'),
    "a backslash": ("tracker.project", "a\\b"),
    "a word that looks like a number": ("tracker.project", "10"),
    "a word that looks like nothing": ("tracker.project", "None"),
    "a word that looks like a sweep": ("tracker.project", "range(3)"),
    "a label budget": ("target.labels", 10),
    "a share of labels": ("target.labels", 0.1),
    "no labels": ("target.labels", "none"),
}
# Python prints them as what looks the same
AMBIGUOUS = {"a word that looks like a number", "a word that looks like nothing", "blanks around it"}


@pytest.fixture
def swept(monkeypatch, tmp_path):
    """The environment of a run of W&B's agent, and the words that it writes for parameters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    monkeypatch.setenv("WANDB_RUN_ID", "drawn")

    def asked(parameters, file=True, how="args_no_hyphens"):
        entries = {name: {"value": value} for name, value in parameters.items()}
        if file:
            place = tmp_path / "wandb" / "sweep-sweep" / "config-drawn.yaml"
            save_config_file_from_dict(str(place), entries)
            monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(place))
        return create_sweep_command_args({"args": entries})[how]

    return asked


def composed(words, capsys):
    """The config that the command shows for words."""
    assert cli.main(["train", "--cfg", "job", *words]) == 0, capsys.readouterr().err
    return OmegaConf.create(capsys.readouterr().out)


@pytest.mark.parametrize("name", VALUES)
def test_a_parameter_is_what_the_sweep_says(name, swept, capsys):
    key, value = VALUES[name]
    assert OmegaConf.select(composed(swept({key: value}), capsys), key) == value


@pytest.mark.parametrize("name", [name for name in VALUES if name not in AMBIGUOUS])
def test_without_the_agents_file_a_parameter_is_what_its_words_say(name, swept, capsys):
    key, value = VALUES[name]
    assert OmegaConf.select(composed(swept({key: value}, file=False), capsys), key) == value


@pytest.mark.parametrize("how", ["args_append_hydra", "args_override_hydra"])
def test_hydras_own_prefixes_stay(how, swept, capsys):
    config = composed(swept({"extra": None, "more": "a,b"}, how=how), capsys)
    assert (config.extra, config.more) == (None, "a,b")


def test_parameters_in_the_file_alone_are_taken(swept, capsys):
    swept({"strategy": "l2_sp", "strategy.losses.l2_sp.weight": 0.5, "target.labels": 10})
    config = composed(["seed=3"], capsys)
    assert (config.strategy.losses.l2_sp.weight, config.target.labels, config.seed) == (0.5, 10, 3)


def test_nested_parameters_are_single_values(swept, capsys):
    config = composed(swept({"optimizer": {"lr": 0.5, "momentum": 0.1}}), capsys)
    assert (config.optimizer.lr, config.optimizer.momentum, config.optimizer.nesterov) == (0.5, 0.1, True)


def test_a_word_that_contradicts_the_sweep_is_refused(swept, capsys):
    words = swept({"optimizer.lr": 0.1})
    assert cli.main(["train", "optimizer.lr=0.5", *words]) == 1
    assert "optimizer.lr is 0.5 on the command line and 0.1 in the sweep" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_a_sentence(swept, monkeypatch, capsys):
    swept({})
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", "nowhere.yaml")
    assert cli.main(["train"]) == 1
    assert "WANDB_SWEEP_PARAM_PATH=nowhere.yaml is no file of a sweep's parameters" in capsys.readouterr().err


def test_an_agent_starts_one_run_a_time(swept, capsys):
    assert cli.main(["train", "-m", *swept({"seed": 1})]) == 1
    assert "leave -m out of the sweep's command" in capsys.readouterr().err


def test_a_parameter_that_is_no_key_is_a_sentence(swept, capsys):
    assert cli.main(["train", *swept({"optimizer.rl": 0.1})]) == 1
    assert "there is no key 'optimizer.rl'; did you mean 'lr'?" in capsys.readouterr().err


def test_without_an_agent_words_are_hydras(monkeypatch, capsys):
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    assert composed(["tracker.project=None"], capsys).tracker.project == "None"
    assert cli.main(["train", "tracker.project=a,b"]) == 1
    assert "has several values: add -m" in capsys.readouterr().err


@pytest.mark.slow
def test_record_wandb_and_run_agree_and_the_sources_run_is_no_point_of_the_sweep(swept, tmp_path):
    tiny = [word for word in TINY if word not in ("source=none", "strategy=scratch")]
    tiny += ["source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10"]
    words = swept({"strategy": "l2_sp", "optimizer.lr": 0.03, "tracker.tags": ["a b", "c,d"]})
    assert cli.main(["train", *tiny, *words, "tracker.mode=offline", "study=s"]) == 0
    wandb.teardown()
    found = {log.run.run_id: log for log in map(read, tmp_path.rglob("offline*/*.wandb")) if log.run is not None}
    (own,) = tmp_path.glob("runs/s/*/run.json")
    (source,) = tmp_path.glob("runs/pretraining/*/run.json")
    record, pretraining = json.loads(own.read_text()), json.loads(source.read_text())
    assert found.keys() == {"drawn", f"pretraining-{pretraining['run_id']}"}
    log = found["drawn"]
    assert record["tracker"]["run_id"] == "drawn"
    assert record["config"]["optimizer"]["lr"] == log.config["optimizer"]["lr"] == 0.03
    assert record["config"]["tracker"]["tags"] == log.config["tracker.tags"] == ["a b", "c,d"]
    # the search goes by the parameters' own names; the whole config is in the summary
    assert (log.config["optimizer.lr"], log.config["strategy"]) == (0.03, "l2_sp")
    assert json.loads(log.summary["config_json"]) == record["config"]
    assert log.run.sweep_id == "sweep"
    theirs = found[f"pretraining-{pretraining['run_id']}"]
    assert not theirs.run.sweep_id
    assert theirs.config["optimizer"]["lr"] == pretraining["config"]["optimizer"]["lr"]
    assert "optimizer.lr" not in theirs.config


def told(folder, point):
    """The one log of a run that W&B knows by the id of a sweep's point."""
    wandb.teardown()
    (log,) = [log for log in map(read, folder.rglob("*.wandb")) if log.run is not None and log.run.run_id == point]
    return log


def test_a_point_that_was_run_before_is_told_its_scores_without_training(swept, tmp_path, monkeypatch):
    words = [*TINY, "tracker.mode=offline", "study=s", *swept({"optimizer.lr": 0.03}), "selection=target_val"]
    words += ["strategy/freezing=gradual_unfreezing", "strategy.freezing.every=1"]
    assert cli.main(["train", *words]) == 0
    (file,) = tmp_path.glob("runs/s/*/run.json")
    live, record = told(tmp_path, "drawn"), file.read_bytes()
    monkeypatch.setenv("WANDB_RUN_ID", "again")
    monkeypatch.setattr(train, "fit", lambda *_: pytest.fail("it trains again"))
    assert cli.main(["train", *words]) == 0
    log = told(tmp_path, "again")
    assert file.read_bytes() == record
    assert (log.run.sweep_id, log.run.run_group, log.exit_codes) == ("sweep", "s", [0])
    assert log.series("val/accuracy").keys() == {STEPS - 1, 2 * STEPS - 1}
    logged = {key for row in live.history for key in row if "/" in key} - {"trainable/share"}
    assert logged == {key for row in log.history for key in row if "/" in key}
    for key in ("epoch", *logged):
        assert log.series(key) == live.series(key), key
    assert without_time(log.summary) == without_time(live.summary)


def without_time(summary):
    return {key: value for key, value in summary.items() if not key.startswith("_") and key != "trainable/share"}


def test_a_point_that_its_own_run_has_told_is_not_told_twice(swept, tmp_path):
    words = [*TINY, "tracker.mode=offline", *swept({"optimizer.lr": 0.03})]
    assert cli.main(["train", *words]) == 0
    assert cli.main(["train", *words]) == 0
    assert len(told(tmp_path, "drawn").series("val/accuracy")) == 2


def test_a_point_that_was_run_before_with_the_tracker_off_writes_nothing(swept, tmp_path, monkeypatch):
    words = [*TINY, "tracker=none", *swept({"optimizer.lr": 0.03}, file=False)]
    assert cli.main(["train", *words]) == 0
    monkeypatch.setenv("WANDB_RUN_ID", "again")
    assert cli.main(["train", *words]) == 0
    assert not list(tmp_path.rglob("*.wandb"))
