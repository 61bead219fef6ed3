import errno
import json
import math
import os
import platform
import subprocess
import sys
import time

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from transferlab import files, pulse, results
from transferlab.composing import Composer
from transferlab.errors import InputError
from transferlab.migrations import SCHEMA


def config(**changes):
    plain = {
        "study": "s",
        "seed": 3,
        "workers": 0,
        "paths": {"runs": "runs", "data": "data", "cache": "cache"},
        "tracker": {"mode": "auto"},
        "optimizer": {"lr": 0.1, "weight_decay": None},
        "target": {"data": {"root": "${paths.data}/digits"}, "labels": "${optimizer.lr}", "folds": []},
        "backbone": {"widths": [4, 8]},
    }
    return OmegaConf.create({**plain, **changes})


@pytest.fixture
def shipped():
    """The config that `transferlab train` has without a word more."""
    with Composer() as composer:
        whole = composer.config(["target.labels=6"])
        HydraConfig.instance().set_config(whole)
        plain = results.portable(OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"]))
    return OmegaConf.create(plain)


def leaves(node, prefix=""):
    for key in node:
        child, path = node[key], f"{prefix}{key}"
        if isinstance(child, DictConfig) and len(child):
            yield from leaves(child, f"{path}.")
        else:
            yield path


def with_change(config, path):
    changed = OmegaConf.create(OmegaConf.to_container(config))
    OmegaConf.update(changed, path, "something else", force_add=True)
    return changed


def test_portable_leaves_paths_symbolic_and_resolves_the_rest():
    found = results.portable(config())
    assert found["target"] == {"data": {"root": "${paths.data}/digits"}, "labels": 0.1, "folds": []}
    assert found["paths"] == {"runs": "runs", "data": "data", "cache": "cache"}


def test_portable_leaves_the_config_it_was_given_as_it_is():
    given = config()
    before = OmegaConf.to_container(given)
    results.portable(given)
    assert OmegaConf.to_container(given) == before
    assert given.target.data.root == "data/digits"


def test_portable_is_plain_and_its_own_config_again():
    found = results.portable(config())
    assert json.loads(json.dumps(found)) == found
    again = OmegaConf.create(found)
    assert results.portable(again) == found
    assert results.run_id(again) == results.run_id(config())


def test_a_missing_value_has_no_identity():
    with pytest.raises(MissingMandatoryValue):
        results.run_id(config(extra="???"))


@pytest.mark.parametrize(
    "changes",
    [
        {"study": "other"},
        {"workers": 4},
        {"tracker": {"_target_": "transferlab.tracking.NoTracker"}},
        {"paths": {"runs": "/elsewhere", "data": "/mnt/sets", "cache": "/tmp/c"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_study_workers_tracker_and_paths_change_no_id(changes):
    assert results.run_id(config(**changes)) == results.run_id(config())


def test_a_path_that_is_no_path_of_ours_changes_the_id():
    absolute = {"data": {"root": "data/digits"}, "labels": "${optimizer.lr}", "folds": []}
    assert results.run_id(config(target=absolute)) != results.run_id(config())


def test_the_order_of_keys_changes_no_id():
    backwards = OmegaConf.create(dict(reversed(OmegaConf.to_container(config()).items())))
    assert results.run_id(backwards) == results.run_id(config())


def test_an_id_is_ten_hexadecimal_digits():
    assert len(results.run_id(config())) == 10
    int(results.run_id(config()), 16)


def test_every_other_key_of_the_shipped_config_changes_the_id(shipped):
    ignored = ("study", "paths", "tracker", "workers", "twins", "cache", "pause_at")
    computing = {f"{trainer}.{key}" for trainer in ("trainer", "source.pretrain.trainer") for key in results.COMPUTING}
    ids = {path: results.run_id(with_change(shipped, path)) for path in leaves(shipped)}
    plain = results.run_id(shipped)
    unchanged = {path for path, found in ids.items() if found == plain}
    numbers = {"cache.dtype", "cache.views"}  # which change those of a run
    assert unchanged == {path for path in ids if path.split(".")[0] in ignored} - numbers | computing
    changed = [found for path, found in ids.items() if path not in unchanged]
    assert len(changed) > 30
    assert len(set(changed)) == len(changed)


def test_a_run_lies_under_its_study_and_id():
    given = config(paths={"runs": "/r", "data": "d", "cache": "c"}, study="mine")
    assert str(results.folder(given)) == f"/r/mine/{results.run_id(given)}"


def test_a_saved_config_composes_to_the_same_run(shipped, tmp_path):
    results.write_config(tmp_path, results.written(shipped))
    with Composer("config", str(tmp_path)) as composer:
        whole = composer.config([])
    again = OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"])
    assert results.run_id(again) == results.run_id(shipped)
    assert again.study == shipped.study


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = {
        "schema": SCHEMA,
        "run_id": "abc",
        "metrics": {"test/accuracy": 0.1 + 0.2},
        "history": [{"epoch": 0}],
        "reason": "naïve",
    }
    results.write(tmp_path, record)
    assert results.read(tmp_path) == record
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o644


def test_what_is_no_number_is_written_as_null(tmp_path):
    bad = {"a": math.nan, "b": [math.inf, 1.5, (-math.inf, 2)], "c": {"d": {"e": math.nan}}, 3: 0.0}
    results.write(tmp_path, bad)
    text = (tmp_path / "run.json").read_text()
    assert json.loads(text) == {"a": None, "b": [None, 1.5, [None, 2]], "c": {"d": {"e": None}}, "3": 0.0}


def refuse(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(("crash", "error"), [(refuse, InputError), (interrupt, KeyboardInterrupt)])
def test_a_write_that_is_cut_short_leaves_the_record_before_it(step, crash, error, tmp_path, monkeypatch):
    results.write(tmp_path, {"schema": SCHEMA, "status": "interrupted"})
    monkeypatch.setattr(os, step, crash)
    with pytest.raises(error):
        results.write(tmp_path, {"schema": SCHEMA, "status": "finished"})
    assert results.read(tmp_path) == {"schema": SCHEMA, "status": "interrupted"}
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_a_record_that_is_no_json_leaves_the_record_before_it(tmp_path):
    results.write(tmp_path, {"schema": SCHEMA, "status": "interrupted"})
    with pytest.raises(TypeError):
        results.write(tmp_path, {"schema": SCHEMA, "status": "finished", "what": object()})
    assert results.read(tmp_path) == {"schema": SCHEMA, "status": "interrupted"}
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_a_full_disk_is_a_sentence_with_the_place_and_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError) as error:
        results.write(tmp_path, {})
    assert str(error.value) == (
        f"cannot write to {tmp_path}: No space left on device; free it or set paths.runs to another folder"
    )


@pytest.mark.parametrize("act", ["write", "check_writable", "held"])
def test_a_folder_that_cannot_be_is_a_sentence(act, tmp_path):
    (tmp_path / "file").touch()
    run = tmp_path / "file" / "run"
    with pytest.raises(InputError, match=f"cannot write to {run}: Not a directory; .*paths.runs"):
        if act == "write":
            results.write(run, {})
        elif act == "check_writable":
            files.check_writable(run)
        else:
            with results.held(run, "waiting"):
                pass


def test_a_folder_that_was_tried_is_made_and_left_empty(tmp_path):
    files.check_writable(tmp_path / "runs" / "s")
    assert list((tmp_path / "runs" / "s").iterdir()) == []


@pytest.mark.parametrize("text", [None, "", "{", '{"status": "fini', "[]", "1", "null", '"text"'])
def test_what_is_no_record_reads_as_none(text, tmp_path):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    assert results.read(tmp_path) is None
    assert not results.is_finished(tmp_path)


def test_a_place_without_a_folder_reads_as_none(tmp_path):
    (tmp_path / "file").touch()
    assert results.read(tmp_path / "nowhere") is None
    assert results.read(tmp_path / "file") is None


@pytest.mark.parametrize("status", results.STATUSES)
def test_only_finished_is_finished(status, tmp_path):
    results.write(tmp_path, {"schema": SCHEMA, "status": status})
    assert results.is_finished(tmp_path) == (status == "finished")


HOLDER = """
import logging, sys
from pathlib import Path
from transferlab import results

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
name, folder = sys.argv[1], Path(sys.argv[2])
note = (folder / "notes").open("a", buffering=1)
with results.held(folder / "run", f"{name} waits"):
    note.write(f"{name} enters\\n")
    print(f"{name} is in", flush=True)
    sys.stdin.readline()
    note.write(f"{name} leaves\\n")
"""


def holder(name, folder):
    command = [sys.executable, "-c", HOLDER, name, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_of_two_processes_one_waits_says_so_once_and_then_goes_on(tmp_path):
    with holder("first", tmp_path) as first:
        assert first.stdout.readline() == "first is in\n"
        with holder("second", tmp_path) as second:
            assert second.stdout.readline() == "second waits\n"
            first.communicate("\n")
            assert second.stdout.readline() == "second is in\n"
            assert second.communicate("\n")[0] == ""
    notes = (tmp_path / "notes").read_text().splitlines()
    assert notes == ["first enters", "first leaves", "second enters", "second leaves"]
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_process_that_is_killed_holds_nothing(tmp_path):
    with holder("first", tmp_path) as first:
        assert first.stdout.readline() == "first is in\n"
        first.kill()
    with results.held(tmp_path / "run", "waiting"):
        pass


def test_an_error_inside_is_not_taken_for_the_folders(tmp_path):
    with pytest.raises(FileNotFoundError), results.held(tmp_path / "run", "waiting"):
        raise FileNotFoundError("the user's own")
    with results.held(tmp_path / "run", "waiting"):
        pass


@pytest.mark.parametrize(("machine", "age", "left"), [("this", 0, False), ("another", 0, True), ("another", 90, False)])
def test_who_takes_up_a_run_removes_what_a_killed_process_left_half_written(machine, age, left, tmp_path):
    sign = {"machine": platform.node() if machine == "this" else machine, "pid": 1, "since": 0.0}
    (tmp_path / pulse.FILE).write_text(json.dumps({**sign, "epoch": 0, "epochs": None}))
    os.utime(tmp_path / pulse.FILE, (time.time() - age,) * 2)
    (tmp_path / "run.json").write_text("{}")
    half, folder = tmp_path / ".run.json-ab_12345", tmp_path / ".selected.pt-00000000"
    half.write_text("{")
    folder.mkdir()
    (folder / "selected.pt").write_text("half")
    with results.held(tmp_path, "waiting"):
        assert (half.exists(), folder.exists()) == (left, left)
    assert (tmp_path / "run.json").read_text() == "{}"
