"""`transferlab sync` by W&B's own uploader, to a stand-in for its server on this machine."""

import json
import shutil
import socket
import sys
import time
from pathlib import Path

import pytest
import wandb

from test_tracking import KEY, TINY

sys.path.insert(0, str(Path(__file__).parent / "compare"))
from wandb_server import WandbServer

from transferlab import cli, results, syncing
from transferlab.compare.wandb_record import epochs
from transferlab.module import TransferModule

pytestmark = pytest.mark.slow  # W&B's own command starts anew for each log


def train(folder, *words):
    return cli.main(["train", *TINY, f"paths.runs={folder / 'runs'}", "study=s", "tracker.mode=offline", *words])


def sync(folder, *words):
    return cli.main(["sync", "s", f"--runs={folder / 'runs'}", *words])


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """A study of two runs, of which the first was interrupted in its second epoch, and then went on."""
    folder = tmp_path_factory.mktemp("offline")
    step = TransferModule.training_step

    def broken(module, batch, batch_idx):
        if module.seed == 0 and module.trainer.current_epoch == 1:
            raise KeyboardInterrupt
        return step(module, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransferModule, "training_step", broken)
        assert train(folder) == 130
    time.sleep(1.1)  # W&B names its folders by the second
    assert train(folder, "-m", "seed=0,1") == 0
    wandb.teardown()
    return folder


@pytest.fixture
def study(offline, tmp_path, monkeypatch):
    shutil.copytree(offline / "runs", tmp_path / "runs", symlinks=True)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path


@pytest.fixture
def server(monkeypatch):
    server = WandbServer()
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    yield server
    server.close()


def test_every_log_is_uploaded_once_in_order_and_a_run_that_went_on_is_whole(study, server, capsys):
    assert sync(study) == 0
    told = [asked["name"] for operation, asked in server.asked if operation == "UpsertBucket"]
    records = {r["axes"]["seed"]: r for r in (json.loads(f.read_text()) for f in study.rglob("run.json"))}
    first, second = (f"s-{records[seed]['run_id']}" for seed in (0, 1))
    assert list(dict.fromkeys(told)) == [first, second]
    assert "3 logs uploaded" in capsys.readouterr().err
    for seed, name in ((0, first), (1, second)):
        history = epochs([json.loads(line) for line in server.history[name]], records[seed]["history"][0]["lr"])
        assert [row["val/loss"] for row in history] == [row["val/loss"] for row in records[seed]["history"]]
    server.asked.clear()
    assert sync(study) == 0
    assert server.asked == []
    assert "3 offline logs, 3 of them uploaded before" in capsys.readouterr().err


def test_an_upload_that_is_killed_goes_on_where_it_was(study, server, monkeypatch):
    upload, done = syncing.upload, []

    def killed(log, timeout):
        if len(done) == 1:
            raise KeyboardInterrupt
        upload(log, timeout)
        done.append(log)

    monkeypatch.setattr(syncing, "upload", killed)
    assert sync(study) == 130
    monkeypatch.setattr(syncing, "upload", lambda log, timeout: done.append(log))
    assert sync(study) == 0
    assert done == syncing.logs(study / "runs" / "s")
    assert len(done) == 3


def test_without_a_key_it_says_so(study, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(study / "none"))
    assert sync(study) == 1
    assert "no W&B key is set" in capsys.readouterr().err


def test_without_a_server_it_says_so(study, monkeypatch, capsys):
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{place.getsockname()[1]}")
        assert sync(study) == 1
    assert "does not answer: the same command uploads once it does" in capsys.readouterr().err


def test_a_server_that_takes_nothing_is_not_waited_for(study, server, capsys):
    server.trouble["UpsertBucket"] = None
    assert sync(study, "--timeout=6") == 1
    told = capsys.readouterr().err
    assert "W&B did not take" in told
    assert "the same command goes on from there" in told
    assert not [log for log in syncing.logs(study / "runs" / "s") if syncing.is_uploaded(log)]


def test_what_wandb_refuses_is_told_in_its_own_words(study, server, capsys):
    server.trouble["all"] = 401
    assert sync(study, "--timeout=60") == 1
    told = capsys.readouterr().err
    assert "W&B did not take" in told
    assert KEY not in told


def test_a_run_that_is_under_way_is_left_for_later(study, monkeypatch, server, capsys):
    monkeypatch.setattr(syncing, "upload", lambda log, timeout: None)
    (run,) = {log.parents[2] for log in syncing.logs(study / "runs" / "s")[:1]}
    with results.held(run, None):
        assert sync(study) == 0
    assert "1 logs uploaded, 2 left for later" in capsys.readouterr().err


def test_a_study_without_logs_needs_no_server(tmp_path, capsys):
    assert cli.main(["train", *TINY, "tracker=none", f"paths.runs={tmp_path / 'runs'}", "study=s"]) == 0
    assert sync(tmp_path) == 0
    assert "0 offline logs" in capsys.readouterr().err
