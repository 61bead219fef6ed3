import copy
import json
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from transferlab import cli, migrations, results
from transferlab.composing import Composer
from transferlab.errors import InputError
from transferlab.migrations import SCHEMA, later_keys, migrated

# what the version before diagnostics wrote, up to the values
FIRST = {
    "schema": 1,
    "run_id": "0123456789",
    "study": "s",
    "status": "finished",
    "reason": "",
    "axes": {"source": "mnist", "target": "digits", "strategy": "l2_sp", "backbone": "mlp", "seed": 0},
    "config": {"seed": 0},
    "overrides": [],
    "metrics": {"selected": {"rule": "last", "epoch": 1, "test/accuracy": 0.5}, "last": None, "oracle": None},
    "history": [{"epoch": 0, "train/loss": 1.0, "trainable": ["head"], "lr": {"head": 0.1}}],
    "cost": {"seconds": 2.5, "fit_seconds": 2.0, "samples": 100, "flops": None},
    "data": {"target": {"hash": "x"}},
    "environment": {"python": "3.12"},
    "tracker": {"kind": "none"},
}


def test_a_record_of_the_first_schema_keeps_all_it_says_and_has_null_for_the_rest():
    before = copy.deepcopy(FIRST)
    found = migrated(FIRST)
    assert before == FIRST  # the caller's record is as it was
    assert found["schema"] == SCHEMA
    assert {key: found[key] for key in FIRST if key not in ("schema", "cost")} == {
        key: FIRST[key] for key in FIRST if key not in ("schema", "cost")
    }
    assert found["cost"] == {**FIRST["cost"], "diagnostics_seconds": None}
    assert (found["forgetting"], found["saliency"]) == (None, None)


def test_todays_record_stays_as_it_is():
    record = {**FIRST, "schema": SCHEMA, "forgetting": {"source_accuracy_before": 0.9}}
    assert migrated(record) == record


def test_migrating_twice_is_migrating_once():
    assert migrated(migrated(FIRST)) == migrated(FIRST)


@pytest.mark.parametrize("schema", [SCHEMA + 1, 99])
def test_a_record_of_a_newer_transferlab_is_named_so(schema):
    with pytest.raises(InputError, match=rf"newer transferlab \(schema {schema}, this one reads up to {SCHEMA}\)"):
        migrated({**FIRST, "schema": schema})


@pytest.mark.parametrize("schema", [0, -1, "1", 1.0, None, True, [1]])
def test_what_is_no_version_is_named(schema):
    with pytest.raises(InputError, match="its schema is"):
        migrated({**FIRST, "schema": schema})


def test_a_record_without_a_schema_is_named():
    with pytest.raises(InputError, match="its schema is None"):
        migrated({"run_id": "x"})


@pytest.mark.parametrize("cost", [3, "abc", [1, 2]])
def test_a_cost_that_is_none_breaks_no_migration(cost):
    assert migrated({**FIRST, "cost": cost})["cost"] == cost


def test_a_record_on_disk_is_read_in_todays_schema(tmp_path):
    results.write(tmp_path, FIRST)
    assert results.read(tmp_path) == migrated(FIRST)
    assert results.is_finished(tmp_path)
    results.write(tmp_path, {**FIRST, "schema": SCHEMA + 1})
    with pytest.raises(InputError, match="newer transferlab"):
        results.read(tmp_path)


@pytest.mark.parametrize("text", ["", '{"schema": 1, "run', "[]", '"x"', "3", "null", "{}", '{"status": "finished"}'])
def test_what_is_no_record_is_read_as_none(text, tmp_path):
    (tmp_path / "run.json").write_text(text)
    assert results.read(tmp_path) is None


def test_a_folder_without_a_record_is_read_as_none(tmp_path):
    assert results.read(tmp_path) is None
    assert results.read(tmp_path / "missing") is None


# configs

SAVED = Path(__file__).parent / "saved"  # first.yaml is a `config.yaml` as the first version wrote it
TINY = ["backbone.widths=[4,8]", "backbone.input.shape=[1,8,8]", "batch_size=16", "target.labels=10", "tracker=none"]
TINY += ["target=digits", "trainer.max_epochs=2"]


def the_record(runs: Path, study: str = "default") -> dict:
    (file,) = (runs / study).glob("*/run.json")
    return json.loads(file.read_text())


def again(folder: Path, name: str, runs: Path) -> int:
    return cli.main(["train", "--config-dir", str(folder), "--config-name", name, f"paths.runs={runs}"])


def test_a_config_of_the_first_version_trains(tmp_path):
    assert again(SAVED, "first", tmp_path) == 0
    record = the_record(tmp_path)
    assert record["status"] == "finished"
    kept = OmegaConf.to_container(OmegaConf.load(SAVED / "first.yaml"))
    for part in ("optimizer", "scheduler", "selection", "seed", "batch_size", "axes"):
        assert record["config"][part] == kept[part]
    assert record["config"]["trainer"] == kept["trainer"] | migrations._LATER["pytorch_lightning.Trainer"]
    assert the_record(tmp_path, "pretraining")["config"]["trainer"]["max_epochs"] == 2


def flat(node: object, key: str = "") -> dict[str, object]:
    if not isinstance(node, dict) or not node:
        return {key: node}
    return {name: value for part in node for name, value in flat(node[part], f"{key}.{part}".lstrip(".")).items()}


def test_a_config_of_the_first_version_says_what_todays_does_of_the_same_choices():
    """A key that is new in `conf` needs a line in `migrations._LATER`: what does the same as without it."""
    old = OmegaConf.to_container(OmegaConf.load(SAVED / "first.yaml"))
    filled = OmegaConf.to_container(OmegaConf.merge(old, later_keys(old)))
    words = ["source=digits", "source.pretrain.max_epochs=2", *TINY]
    with Composer() as composer:
        config = composer.config(words)
        HydraConfig.instance().set_config(config)
        today = results.portable(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"]))
    beside = (
        "paths",
        "defaults",
        "diagnostics",
        "oracle",
        "twins",
        "cache",
        "rules",
        "pause_at",
    )  # a run that says nothing of them has none of them
    ours, theirs = (flat({k: v for k, v in one.items() if k not in beside}) for one in (filled, today))
    assert ours == theirs


def strip(node: dict) -> None:
    """Take away what came later, wherever it is."""
    for value in node.values():
        if isinstance(value, dict):
            strip(value)
    for key in migrations._LATER.get(node.get("_target_"), {}):
        del node[key]


def test_a_saved_config_without_what_came_later_is_the_same_run(tmp_path, capsys):
    assert cli.main(["train", "source=none", "strategy=scratch", *TINY, f"paths.runs={tmp_path}"]) == 0
    run = tmp_path / "default" / the_record(tmp_path)["run_id"]
    config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    strip(config)
    del config["augmentation"], config["backbone"]["input"]["_target_"]
    assert not {"fitted_on", "averaging", "metric"} & {*config["target"], *config["strategy"], *config["task"]}
    (tmp_path / "old").mkdir()
    OmegaConf.save(OmegaConf.create(config), tmp_path / "old" / "config.yaml")
    capsys.readouterr()
    assert again(tmp_path / "old", "config", tmp_path) == 0
    assert "finished before, skipped" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["source=none"],
        ["source=npz", "target=mnist5k", "strategy=joint"],
        ["target=audio_manifest", "backbone=vgg16"],
        ["target=hf_dataset", "backbone=two_tower"],
        ["source=prompted", "target=prompted", "target@target.data.of=mnist5k", "task=prompted"],
    ],
    ids=str,
)
def test_a_config_of_today_lacks_nothing(words):
    with Composer() as composer:
        assert later_keys(OmegaConf.to_container(composer.config(words))) == {}


def test_what_is_filled_in_is_what_did_the_same_before():
    old = {"backbone": {"input": {"shape": [1, 8, 8]}}, "augmentation": {}, "source": None}
    assert later_keys(old)["backbone"]["input"]["interpolation"] == "bilinear"
    of = {"_target_": "transferlab.data.target.Target", "data": {"_target_": "transferlab.data.embedded.mnist5k"}}
    found = later_keys({"augmentation": {}, "target": {"data": {"of": of}}, "source": {"pretrain": None}})
    assert found == {
        "target": {
            "data": {
                "of": {
                    "data": {"border": 0},
                    "missing_labels": 0.0,
                    "missing_values": 0.0,
                    "fitted_on": "target",
                    "source_test": 0.0,
                    "label_space": "same",
                }
            }
        }
    }
