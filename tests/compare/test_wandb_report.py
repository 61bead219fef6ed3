"""Against W&B's own client: offline, read back by its own reader, and online against a stand-in for its server."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import wandb
from matplotlib import pyplot
from PIL import Image
from wandb_server import WandbServer

from transferlab import connection
from transferlab.compare.wandb_report import log
from transferlab.errors import InputError

KEY = "secret" + "0123456789abcdef" * 2 + "ab"
SCORES = pd.DataFrame(
    {
        "strategy": ["l2_sp", "scratch"],
        "mean": [0.75, 0.5],
        "difference": [0.25, None],
        "seeds": [3, 3],
        "verdict": ["transfers", float("nan")],
        "settles": [7, "never"],
    }
)
ROWS = [["l2_sp", 0.75, 0.25, 3, "transfers", 7], ["scratch", 0.5, None, 3, None, "never"]]


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """W&B as a new process finds it: no key, no mode, nothing kept from the test before."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setattr(connection, "_given_up", set())
    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    yield monkeypatch
    wandb.teardown()


@pytest.fixture
def server(fresh):
    stand_in = WandbServer()
    fresh.setenv("WANDB_BASE_URL", stand_in.address)
    fresh.setenv("WANDB_API_KEY", KEY)
    yield stand_in
    stand_in.close()


@pytest.fixture
def out(tmp_path):
    """A folder with a picture of two kinds and a page."""
    folder = tmp_path / "out"
    folder.mkdir()
    figure, axis = pyplot.subplots(figsize=(2, 1))
    axis.plot([0, 1])
    for kind in ("png", "svg"):
        figure.savefig(folder / f"scores.{kind}", dpi=50)
    pyplot.close(figure)
    (folder / "comparison.html").write_text("<!doctype html><title>comparison</title>")
    return folder


def report(out, mode="auto", timeout=10.0, **changes):
    told = {
        "title": "compare s",
        "project": "p",
        "entity": None,
        "study": "a/study",
        "tables": {"scores": SCORES},
        "pictures": [out / "scores.png", out / "scores.svg"],
        "files": [out / "comparison.html"],
        "folder": out,
    }
    return log(**{**told, **changes}, mode=mode, timeout=timeout)


def inspected(folder):
    """What W&B's own reader finds in a log."""
    wandb.teardown()  # the helper process closes a log some time after `finish`
    (path,) = folder.glob("*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def offline(fresh, out):
    """A comparison logged offline: what was told of it, the folder of its log, the log's lines."""
    told = report(out, "offline")
    folder = out / told["folder"]
    return told, folder, inspected(folder)


def of_kind(lines, kind):
    return [line[kind] for line in lines if line["type"] == kind]


def shown(lines):
    """What was logged: kind by name."""
    (row,) = (row["item"] for row in of_kind(lines, "history"))
    return {key.removesuffix("._type"): value for key, value in row.items() if key.endswith("._type")}


def test_a_comparison_is_a_run_of_its_own_job_type_in_the_studys_group(offline):
    told, _, lines = offline
    (run,) = of_kind(lines, "run")
    assert (run["job_type"], run["run_group"]) == ("compare", "a/study")
    assert (run["display_name"], run["project"]) == ("compare s", "p")
    assert told == {"kind": "wandb", "run_id": run["run_id"], "mode": "offline", "folder": told["folder"]}
    assert [line.get("exit_code", 0) for line in of_kind(lines, "exit")] == [0]
    assert wandb.run is None


def test_a_table_is_kept_as_it_is_with_what_is_missing_empty(offline):
    _, folder, lines = offline
    assert shown(lines) == {"tables/scores": "table-file", "plots/scores": "image-file"}
    (file,) = folder.glob("files/media/table/**/*.json")
    kept = json.loads(file.read_text())
    assert kept["columns"] == list(SCORES.columns)
    assert kept["data"] == ROWS


def test_a_picture_is_kept_dot_for_dot(offline, out):
    _, folder, _ = offline
    (file,) = folder.glob("files/media/images/**/*.png")
    with Image.open(file) as kept, Image.open(out / "scores.png") as drawn:
        assert kept.convert("RGB").tobytes() == drawn.convert("RGB").tobytes()


def test_the_page_and_what_is_no_bitmap_are_an_artifact_of_the_type_comparison(offline):
    _, _, lines = offline
    artifacts = {artifact["name"]: artifact for artifact in of_kind(lines, "artifact")}
    kept = artifacts["comparison-a-study"]
    assert kept["type"] == "comparison"
    assert {entry["path"] for entry in kept["manifest"]["contents"]} == {"comparison.html", "scores.svg"}


def test_online_the_comparison_reaches_the_server(server, out):
    told = report(out, "online")
    assert (told["mode"], told["url"]) == ("online", f"{server.address}/team/p/runs/{told['run_id']}")
    ((place, (run,)),) = server.runs.items()
    assert place == ("team", "p")
    assert (run["name"], run["jobType"], run["group"], run["state"]) == (
        told["run_id"],
        "compare",
        "a/study",
        "finished",
    )
    (row,) = map(json.loads, server.history[run["name"]])
    assert {key: row[key]["_type"] for key in row if not key.startswith("_")} == {
        "tables/scores": "table-file",
        "plots/scores": "image-file",
    }
    tables = [json.loads(body) for name, body in server.files.items() if name.startswith("media/table/")]
    assert [(table["columns"], table["data"]) for table in tables] == [(list(SCORES.columns), ROWS)]
    made = [asked["input"] for operation, asked in server.asked if operation == "CreateArtifact"]
    assert ("comparison", "comparison-a-study") in {(a["artifactTypeName"], a["artifactCollectionName"]) for a in made}


@pytest.fixture
def said(caplog):
    """What was said aloud by our own rooms."""
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("transferlab")]


def test_without_a_key_auto_is_offline_and_asks_nobody(server, out, fresh, said):
    fresh.delenv("WANDB_API_KEY")
    assert report(out)["mode"] == "offline"
    assert server.paths == []
    assert said() == []


def test_a_dead_server_costs_one_warning_and_the_comparison_is_kept_offline(server, out, said):
    server.close()
    told = report(out, "online", timeout=1.0)
    assert said() == [f"the W&B server {server.address} does not answer: the run is tracked offline"]
    assert told["mode"] == "offline"
    assert set(shown(inspected(out / told["folder"]))) == {"tables/scores", "plots/scores"}


# W&B alone would wait a minute for a server that is silent about artifacts, and for ever for one that is silent later
@pytest.mark.parametrize("operation", ["ArtifactType", "CreateArtifact", "file_stream", "CreateRunFiles"])
def test_a_server_that_falls_silent_costs_seconds_and_no_error(operation, server, out, said):
    server.trouble = {operation: None}
    started = time.monotonic()
    told = report(out, "online", timeout=1.0)
    assert time.monotonic() - started < 30
    assert told["mode"] == "online"
    assert len(said()) <= 1
    assert wandb.run is None


def test_a_server_that_refuses_the_key_costs_a_warning_without_it(server, out, said):
    server.trouble = {"all": 401}
    assert report(out, "online", timeout=2.0)["mode"] == "offline"
    (warning,) = said()
    assert warning.startswith("W&B could not start online: ")
    assert KEY not in warning


def test_what_wandb_cannot_take_costs_a_warning(fresh, out, said):
    told = report(out, "offline", files=[Path("nowhere.html")])
    (warning,) = said()
    assert warning.startswith("W&B could not keep the comparison: ")
    assert told["mode"] == "offline"
    assert wandb.run is None


def test_a_wandb_that_cannot_start_is_done_without(fresh, out, monkeypatch):
    def fail(**_):
        raise OSError("disk")

    monkeypatch.setattr(wandb, "init", fail)
    assert report(out, "offline") == {"kind": "wandb", "run_id": None, "mode": "failed"}


def test_the_key_is_told_nowhere(server, out, capfd):
    report(out, "online")
    wandb.teardown()
    shown = capfd.readouterr()
    assert KEY not in shown.out + shown.err
    assert [path for path in out.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
    assert not [name for name, body in server.files.items() if KEY.encode() in body]


def test_an_unknown_mode_is_a_sentence(out):
    with pytest.raises(InputError, match=r"tracker\.mode=onlin: 'auto', 'online' or 'offline'"):
        report(out, "onlin")
