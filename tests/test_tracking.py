"""Against W&B itself, offline, or online with servers of our own on this machine; its logs are read as they lie."""

import http.server
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import wandb
from pytorch_lightning.loggers import WandbLogger
from wandb.proto.wandb_internal_pb2 import Record
from wandb.sdk.lib import gitlib

from transferlab import cli, connection
from transferlab.errors import InputError
from transferlab.history import History
from transferlab.module import TransferModule
from transferlab.tasks.classification import Classification
from transferlab.tracking import NoTracker, RunCard, WandbTracker

KEY = "secret" + "0123456789abcdef" * 2 + "ab"
TINY = [
    "source=none",
    "strategy=scratch",
    "target=digits",
    "target.labels=6",
    "batch_size=16",
    "trainer.max_epochs=2",
    "backbone.widths=[4,8]",
    "backbone.input.shape=[1,8,8]",
    "selection=last",
    "tracker=wandb",
]
STEPS = 4  # an epoch: 50 samples, 6 labels in 10 classes less one each held out, in batches of 16


@dataclass(frozen=True)
class Log:
    """What a `.wandb` file says of a run."""

    run: object
    config: dict
    history: list
    summary: dict
    exit_codes: list

    def series(self, key):
        """The values of a key by the training step they were logged at."""
        return {row["trainer/global_step"]: row[key] for row in self.history if key in row}


def records(path):
    """The protobuf records of a LevelDB log: after 7 bytes blocks of 32 KiB with checksum, length and kind."""
    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        body, place = data[place + 7 : place + 7 + length], place + 7 + length
        parts = body if kind in (1, 2) else parts + body
        if kind in (1, 4):
            yield Record.FromString(parts)


def read(path):
    run, config, history, summary, exit_codes = None, {}, [], {}, []
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= {item.key: json.loads(item.value_json) for item in run.config.update}
        elif kind == "config":
            config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            history.append(values(record.history.item))
        elif kind == "summary":
            summary |= values(record.summary.update)
        elif kind == "exit":
            exit_codes.append(record.exit.exit_code)
    return Log(run, config, history, summary, exit_codes)


def values(items):
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def logs(folder):
    """The logs below a folder, by run id; empty ones are none."""
    wandb.teardown()  # the helper process closes a log some time after `finish`, all of them before it ends
    found = [log for log in map(read, folder.rglob("*.wandb")) if log.run is not None]
    by_id = {log.run.run_id: log for log in found}
    assert len(by_id) == len(found)
    return by_id


def run_records(folder):
    return {r["axes"]["seed"]: r for r in (json.loads(file.read_text()) for file in folder.rglob("run.json"))}


def train(folder, *words):
    return cli.main(["train", *TINY, f"paths.runs={folder / 'runs'}", "study=s", *words])


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """W&B as a new process finds it: no key, no mode, no settings, and nothing kept from the test before."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    yield monkeypatch
    wandb.teardown()


@pytest.fixture
def said(monkeypatch):
    """What the tracker said aloud, line by line, whatever Hydra has made of the loggers."""
    lines = []

    class Listener(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    for room in ("tracking", "connection"):
        logger = logging.getLogger(f"transferlab.{room}")
        monkeypatch.setattr(logger, "handlers", [Listener(logging.INFO)])
        monkeypatch.setattr(logger, "propagate", False)
    return lines


@pytest.fixture
def closed():
    """The address of a port on which nobody listens."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{place.getsockname()[1]}"


class Silent:
    """A server that accepts connections and never answers."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                self.connections.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self):
        self._listener.close()
        for accepted in self.connections:
            accepted.close()


@pytest.fixture
def silent():
    server = Silent()
    yield server
    server.close()


@pytest.fixture
def refusing():
    """A server that knows no key."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_PUT = do_POST

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def tracker(mode, timeout=1.0):
    return WandbTracker(project="p", entity=None, mode=mode, timeout=timeout, tags=["mine"])


def card(folder, run_id="abc", study="a/study"):
    folder.mkdir(exist_ok=True)
    return RunCard(run_id, study, "l2_sp", "a name", ("digits",), {"seed": 1, "optimizer": {"lr": 0.1}}, folder)


def follow(mode, folder, status="finished"):
    """One run from start to finish; what the tracker tells of it."""
    followed = tracker(mode)
    logger = followed.start(card(folder))
    if logger is not None:
        logger.log_metrics({"val/accuracy": 0.5}, step=0)
    followed.finish({"selected/test/accuracy": 0.25}, status)
    return followed.describe()


# One run of the whole command, looked at from all sides.


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run in which the head trains alone first, then the last block too: its log and its record."""
    folder = tmp_path_factory.mktemp("tracked")
    words = ["strategy/freezing=gradual_unfreezing", "strategy.freezing.every=1", "tracker.mode=offline"]
    assert train(folder, *words) == 0
    (log,) = logs(folder).values()
    (record,) = run_records(folder).values()
    return log, record, folder


def test_the_group_is_the_study_and_the_job_type_the_strategy(tracked):
    log, record, _ = tracked
    assert (log.run.run_group, log.run.job_type, log.run.project) == ("s", "scratch", "transferlab")
    assert log.run.run_id == f"s-{record['run_id']}"
    assert log.run.display_name == "scratch none->digits convnet seed=0"
    assert set(log.run.tags) == {"none", "digits", "convnet"}


def test_the_config_is_the_records_resolved_and_nested(tracked):
    log, record, _ = tracked
    found = {key: value for key, value in log.config.items() if key != "_wandb"}
    assert found == record["config"]
    assert found["optimizer"]["lr"] == 0.01
    assert found["backbone"]["widths"] == [4, 8]

    def keys(node):
        for key, value in node.items():
            yield key
            if isinstance(value, dict):
                yield from keys(value)

    assert not [key for key in keys(found) if "." in key or "/" in key]


def test_the_history_holds_each_epochs_loss_and_validation(tracked):
    log, record, _ = tracked
    assert len(record["history"]) == 2
    for key in ("train/task_loss", "val/accuracy", "val/loss"):
        assert log.series(key) == {STEPS - 1: record["history"][0][key], 2 * STEPS - 1: record["history"][1][key]}


def test_the_history_says_which_stages_trained_and_what_share(tracked):
    log, _, _ = tracked
    flags = {stage: list(log.series(f"trainable/{stage}").values()) for stage in ("block1", "block2", "head")}
    assert flags == {"block1": [0, 0], "block2": [0, 1], "head": [1, 1]}
    # convolution and BatchNorm of each block, then the linear head
    block1, block2, head = 1 * 4 * 9 + 2 * 4, 4 * 8 * 9 + 2 * 8, 8 * 10 + 10
    whole = block1 + block2 + head
    share = log.series("trainable/share")
    assert share == pytest.approx({STEPS - 1: head / whole, 2 * STEPS - 1: (head + block2) / whole})


def test_the_history_holds_the_rate_of_every_group(tracked):
    log, record, _ = tracked
    groups = {key.removeprefix("lr/") for row in log.history for key in row if key.startswith("lr/")}
    assert groups == {"backbone/block1", "backbone/block2", "head"}
    for group in groups:
        assert list(log.series(f"lr/{group}").values()) == [row["lr"][group] for row in record["history"]]
    # a cosine from optimizer.lr=0.01, half-way down after one epoch of two
    assert list(log.series("lr/head").values()) == pytest.approx([0.01, 0.005])


def test_the_test_split_is_in_no_history(tracked):
    log, record, _ = tracked
    assert "test/accuracy" in record["metrics"]["selected"]
    assert not [key for row in log.history for key in row if "test" in key]


def test_the_summary_holds_the_selected_and_the_last_epoch_and_the_status(tracked):
    log, record, _ = tracked
    for which in ("selected", "last"):
        for key, value in record["metrics"][which].items():
            assert log.summary[f"{which}/{key}"] == value
    assert log.summary["status"] == "finished"
    assert log.summary["cost/trainable_parameters"] == record["cost"]["trainable_parameters"]
    assert log.exit_codes == [0]


def test_the_record_says_where_the_log_lies(tracked):
    log, record, folder = tracked
    told = record["tracker"]
    assert (told["kind"], told["run_id"], told["mode"]) == ("wandb", log.run.run_id, "offline")
    run = folder / "runs" / "s" / record["run_id"]
    assert [path.name for path in (run / told["folder"]).glob("*.wandb")] == [f"run-{log.run.run_id}.wandb"]


def test_the_log_reads_with_wandbs_own_reader_as_with_ours(tracked):
    log, _, folder = tracked
    (path,) = folder.rglob("*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    history = [{"_step": row["_step"], **row} for row in log.history]
    theirs = [record["history"]["item"] for record in found if record["type"] == "history"]
    assert [row.keys() for row in theirs] == [row.keys() for row in history]
    assert [row.get("val/accuracy") for row in theirs] == [row.get("val/accuracy") for row in history]
    assert [record["type"] for record in found].count("exit") == 1


def test_nothing_is_left_running_after_a_run(tracked):
    assert wandb.run is None


# Several jobs in one process.


def test_a_job_that_fails_or_diverges_leaks_nothing_into_the_next(tmp_path, monkeypatch):
    step, loss = TransferModule.training_step, Classification.loss
    seed = []

    def sometimes(module, batch, batch_idx):
        if module.seed == 1:
            raise RuntimeError("broken on purpose")
        seed[:] = [module.seed]
        return step(module, batch, batch_idx)

    def without_end(task, outputs, y):
        return loss(task, outputs, y) * (float("inf") if seed == [2] else 1.0)

    monkeypatch.setattr(TransferModule, "training_step", sometimes)
    monkeypatch.setattr(Classification, "loss", without_end)
    assert train(tmp_path, "tracker.mode=offline", "-m", "seed=0,1,2,3") == 1
    assert wandb.run is None
    found, known = logs(tmp_path), run_records(tmp_path)
    assert len(found) == 4
    statuses = {0: "finished", 1: "failed", 2: "diverged", 3: "finished"}
    for seed, status in statuses.items():
        log = found[f"s-{known[seed]['run_id']}"]
        assert known[seed]["status"] == log.summary["status"] == status
        assert log.config["seed"] == seed
        assert log.exit_codes == [0 if status == "finished" else 1]
        assert len(log.series("train/task_loss")) == (2 if status == "finished" else 0)


def test_an_interrupted_run_is_closed_and_says_so(tmp_path, monkeypatch, capsys):
    def stop(module, batch, batch_idx):
        raise KeyboardInterrupt

    monkeypatch.setattr(TransferModule, "training_step", stop)
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert train(tmp_path, "tracker.mode=offline") == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    (log,) = logs(tmp_path).values()
    assert log.summary["status"] == run_records(tmp_path)[0]["status"] == "interrupted"
    assert log.exit_codes == [1]
    assert wandb.run is None
    assert "the same command goes on from here" in capsys.readouterr().err


@pytest.mark.slow
def test_thirty_jobs_of_one_sweep_are_thirty_finished_runs(tmp_path):
    assert train(tmp_path, "tracker.mode=offline", "-m", "seed=range(30)", "trainer.max_epochs=1") == 0
    found, known = logs(tmp_path), run_records(tmp_path)
    assert set(found) == {f"s-{record['run_id']}" for record in known.values()}
    assert len(found) == 30
    for seed, record in known.items():
        log = found[f"s-{record['run_id']}"]
        assert log.exit_codes == [0]
        assert log.config["seed"] == seed
        assert list(log.series("val/accuracy").values()) == [record["history"][0]["val/accuracy"]]
        assert log.summary["selected/test/accuracy"] == record["metrics"]["selected"]["test/accuracy"]


def test_what_is_installed_is_told_with_the_first_run_of_a_process_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "_known", {})
    told = []
    monkeypatch.setattr("wandb.util.working_set", lambda: told.append(None) or ())
    for name in ("a", "b", "c"):
        follow("offline", tmp_path / name)
    assert len(told) == 1


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What W&B asks git in a folder of its own, by a process that has had no run yet."""
    monkeypatch.setattr(connection, "_known", {})
    monkeypatch.chdir(tmp_path)
    words, ask = [], gitlib.run_git
    monkeypatch.setattr(gitlib, "run_git", lambda *given, **more: words.append(given) or ask(*given, **more))
    return words


def asked_for_each(folder, asked):
    """How often git is asked for each of two runs."""
    times = []
    for name in ("a", "b"):
        asked.clear()
        follow("offline", folder / name)
        times.append(len(asked))
    return times


@pytest.mark.parametrize("remote", ["https://example.org/house.git", None])
def test_git_is_asked_for_the_first_run_of_a_process_and_each_says_the_commit(remote, tmp_path, asked):
    git = partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True, text=True)
    git(["git", "init", "-q"])
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    git(["git", *who, "commit", "-q", "--allow-empty", "-m", "first"])
    if remote is not None:
        git(["git", "remote", "add", "origin", remote])
    commit = git(["git", "rev-parse", "HEAD"]).stdout.strip()
    first, second = asked_for_each(tmp_path, asked)
    assert first and not second
    for log in (*logs(tmp_path / "a").values(), *logs(tmp_path / "b").values()):
        assert (log.run.git.commit, log.run.git.remote_url or None) == (commit, remote)


def test_outside_of_a_repository_git_is_asked_once(tmp_path, asked):
    first, second = asked_for_each(tmp_path, asked)
    assert first and not second


def test_without_a_tracker_nothing_of_wandb_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr(wandb, "init", lambda **_: started.append(1))
    assert train(tmp_path, "tracker=none") == 0
    assert not [path for path in tmp_path.rglob("*") if "wandb" in path.name]
    assert not started
    assert run_records(tmp_path)[0]["tracker"] == {"kind": "none"}


def test_a_tracker_that_is_off_answers_like_one_that_is_on(tmp_path):
    off = NoTracker()
    assert off.start(card(tmp_path / "run")) is None
    assert off.finish({}, "finished") is None
    assert off.describe() == {"kind": "none"}


# Trouble with W&B costs a warning.


def test_a_connection_lost_in_training_costs_one_warning(tmp_path, monkeypatch, capsys):
    tries = []

    def lost(logger, metrics, step=None):
        tries.append(step)
        raise ConnectionResetError("gone")

    monkeypatch.setattr(WandbLogger, "log_metrics", lost)
    assert train(tmp_path, "tracker.mode=offline") == 0
    assert capsys.readouterr().err.count("W&B is lost, the run goes on without it: gone") == 1
    assert len(tries) == 1
    assert run_records(tmp_path)[0]["status"] == "finished"
    assert wandb.run is None


def helper_processes():
    """The helper processes of W&B that this process started."""
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if (Path("/proc") / child / "comm").read_text().strip() == "wandb-core":
                yield int(child)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the helper process in /proc")
def test_a_helper_that_is_killed_costs_warnings_and_the_next_job_is_tracked(tmp_path, monkeypatch, capsys, fresh):
    start = History.on_train_epoch_start

    def deadly(history, trainer, pl_module):
        start(history, trainer, pl_module)
        if pl_module.seed == 0 and trainer.current_epoch == 1:
            (helper,) = helper_processes()
            os.kill(helper, signal.SIGKILL)

    monkeypatch.setattr(History, "on_train_epoch_start", deadly)
    assert train(tmp_path, "tracker.mode=offline", "-m", "seed=0,1") == 0
    known = run_records(tmp_path)
    assert {record["status"] for record in known.values()} == {"finished"}
    log = logs(tmp_path)[f"s-{known[1]['run_id']}"]
    assert (log.exit_codes, log.config["seed"]) == ([0], 1)
    assert "W&B could not finish" in capsys.readouterr().err
    assert wandb.run is None


@pytest.mark.parametrize("error", [OSError("disk"), wandb.errors.CommError("server"), RuntimeError("anything")])
def test_a_wandb_that_cannot_start_is_done_without(error, tmp_path, monkeypatch, said):
    def fail(**_):
        raise error

    monkeypatch.setattr(wandb, "init", fail)
    assert follow("offline", tmp_path / "run") == {"kind": "wandb", "run_id": None, "mode": "failed"}
    assert said == [f"W&B could not start offline: {error}"]


def test_an_unknown_mode_is_a_sentence():
    with pytest.raises(InputError, match=r"tracker\.mode=onlin: 'auto', 'online' or 'offline'"):
        tracker("onlin")


def test_a_slash_in_a_studys_name_is_no_slash_in_the_id(tmp_path):
    assert follow("offline", tmp_path / "run")["run_id"] == "a-study-abc"


@pytest.mark.parametrize("status", ["finished", "failed", "diverged", "interrupted"])
def test_the_exit_code_tells_how_the_run_ended(status, tmp_path):
    follow("offline", tmp_path / "run", status)
    (log,) = logs(tmp_path).values()
    assert log.summary["status"] == status
    assert log.exit_codes == [0 if status == "finished" else 1]
    assert set(log.run.tags) == {"mine", "digits"}


# Online, where there is no server, or none that wants us.


def test_without_a_key_auto_is_offline_and_says_nothing(tmp_path, fresh, silent, said):
    fresh.setenv("WANDB_BASE_URL", silent.address)
    assert follow("auto", tmp_path / "run")["mode"] == "offline"
    assert said == []
    assert not silent.connections


def test_without_a_key_online_is_offline_with_a_warning(tmp_path, fresh, silent, said):
    fresh.setenv("WANDB_BASE_URL", silent.address)
    assert follow("online", tmp_path / "run")["mode"] == "offline"
    assert said == ["tracker.mode=online, but no W&B key is set: the run is tracked offline"]
    assert not silent.connections


@pytest.mark.parametrize("place", ["environment", "netrc"])
@pytest.mark.parametrize("mode", ["auto", "online"])
def test_with_a_key_and_no_server_the_run_is_offline_with_one_warning(mode, place, tmp_path, fresh, closed, said):
    fresh.setenv("WANDB_BASE_URL", closed)
    if place == "environment":
        fresh.setenv("WANDB_API_KEY", KEY)
    else:
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1\n  login user\n  password {KEY}\n")
    assert follow(mode, tmp_path / "run")["mode"] == "offline"
    assert said == [f"the W&B server {closed} does not answer: the run is tracked offline"]
    (log,) = logs(tmp_path).values()
    assert log.exit_codes == [0]
    assert log.series("val/accuracy") == {0: 0.5}


def test_a_dead_server_is_told_of_once_and_every_job_of_a_sweep_goes_on(tmp_path, fresh, closed, capsys):
    fresh.setenv("WANDB_BASE_URL", closed)
    fresh.setenv("WANDB_API_KEY", KEY)
    fresh.setattr(connection, "_given_up", set())
    assert train(tmp_path, "tracker.mode=online", "trainer.max_epochs=1", "-m", "seed=0,1") == 0
    assert capsys.readouterr().err.count(f"the W&B server {closed} does not answer: the run is tracked offline") == 1
    found = run_records(tmp_path)
    assert [(found[seed]["status"], found[seed]["tracker"]["mode"]) for seed in (0, 1)] == [("finished", "offline")] * 2
    assert [log.exit_codes for log in logs(tmp_path).values()] == [[0]] * 2


@pytest.mark.parametrize("word", ["offline", "dryrun", "disabled"])
def test_under_auto_wandbs_own_variable_keeps_a_run_offline(word, tmp_path, fresh, silent, said):
    fresh.setenv("WANDB_BASE_URL", silent.address)
    fresh.setenv("WANDB_API_KEY", KEY)
    fresh.setenv("WANDB_MODE", word)
    assert follow("auto", tmp_path / "run")["mode"] == "offline"
    assert said == []
    assert not silent.connections


def test_online_asked_for_beats_wandbs_own_variable(tmp_path, fresh, closed, said):
    fresh.setenv("WANDB_BASE_URL", closed)
    fresh.setenv("WANDB_API_KEY", KEY)
    fresh.setenv("WANDB_MODE", "offline")
    follow("online", tmp_path / "run")
    assert said == [f"the W&B server {closed} does not answer: the run is tracked offline"]


def test_a_command_without_a_server_trains_warns_once_and_tells_no_key(tmp_path, fresh, closed, capsys):
    fresh.setenv("WANDB_BASE_URL", closed)
    fresh.setenv("WANDB_API_KEY", KEY)
    assert train(tmp_path, "tracker.mode=online") == 0
    shown = capsys.readouterr()
    assert shown.err.count("the run is tracked offline") == 1
    record = run_records(tmp_path)[0]
    assert (record["status"], record["tracker"]["mode"]) == ("finished", "offline")
    (log,) = logs(tmp_path).values()
    assert log.exit_codes == [0]
    assert KEY not in shown.out + shown.err
    telling = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert telling == []


def test_a_server_that_never_answers_costs_seconds(tmp_path, fresh, silent, capsys):
    fresh.setenv("WANDB_BASE_URL", silent.address)
    fresh.setenv("WANDB_API_KEY", KEY)
    started = time.monotonic()
    assert train(tmp_path, "tracker.mode=online", "tracker.timeout=1") == 0
    assert time.monotonic() - started < 60  # W&B alone waits 100 s for such a server, then fails
    assert silent.connections
    assert capsys.readouterr().err.count("the run is tracked offline") == 1
    record = run_records(tmp_path)[0]
    assert (record["status"], record["tracker"]["mode"]) == ("finished", "offline")
    assert [log.exit_codes for log in logs(tmp_path).values()] == [[0]]


def test_a_server_that_refuses_the_key_costs_a_warning_and_the_run_is_offline(tmp_path, fresh, refusing, said):
    fresh.setenv("WANDB_BASE_URL", refusing)
    fresh.setenv("WANDB_API_KEY", KEY)
    told = follow("online", tmp_path / "run")
    assert told["mode"] == "offline"
    (warning,) = said
    assert warning.startswith("W&B could not start online: ")
    assert KEY not in warning
    wandb.teardown()
    log = read(*(tmp_path / "run" / told["folder"]).glob("*.wandb"))
    assert log.exit_codes == [0]
    assert log.series("val/accuracy") == {0: 0.5}
    assert wandb.run is None


@pytest.mark.slow
def test_an_offline_run_sends_nothing_anywhere(tmp_path, silent):
    # in a process of its own: W&B reports on itself when a process ends
    script = (
        "import sys; from transferlab import cli;"
        "code = cli.main(sys.argv[1:]); import wandb; wandb.teardown(); sys.exit(code)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    environment |= {"WANDB_BASE_URL": silent.address, "WANDB_API_KEY": KEY, "WANDB_CONFIG_DIR": str(tmp_path)}
    words = ["train", *TINY, "tracker.mode=offline", f"paths.runs={tmp_path / 'runs'}", "study=s"]
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", script, *words], env=environment, check=True, capture_output=True)
    assert time.monotonic() - started < 300
    assert not silent.connections
    assert len(logs(tmp_path)) == 1


def test_a_server_that_did_not_answer_is_not_asked_again_by_the_next_job(monkeypatch):
    asked = []
    monkeypatch.setattr(connection, "answers", lambda address, timeout: asked.append(address))
    monkeypatch.setattr(connection, "_given_up", set())
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    for _ in range(3):
        assert connection.modes("online", 1, "tracker.mode") == ("offline",)
    assert asked == ["http://127.0.0.1:1"]
