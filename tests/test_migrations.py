import copy

import pytest

from transferlab import results
from transferlab.errors import InputError
from transferlab.migrations import SCHEMA, migrated

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
