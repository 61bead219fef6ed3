"""The public API of W&B against a stand-in for its server: no real server was at hand."""

import json
import subprocess
import sys
import tempfile
from collections import Counter

import pytest
import wandb
from wandb_server import WandbServer

from transferlab import cli, connection
from transferlab.compare import wandb_runs
from transferlab.compare.wandb_runs import read, split
from transferlab.errors import InputError

KEY = "secret" + "0123456789abcdef" * 2 + "ab"
AXES = {"source": "none", "target": "digits", "strategy": "scratch", "backbone": "convnet"}
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
    "tracker.mode=online",
    "tracker.timeout=20",
    "strategy/freezing=gradual_unfreezing",
    "strategy.freezing.every=1",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """W&B as a new process finds it: a key, folders of its own, nothing kept from a test before."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("wandb")
        for name in ("WANDB_MODE", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_DIR"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_API_KEY", KEY)
        patch.setenv("NETRC", str(folder / "netrc"))
        patch.setenv("WANDB_CONFIG_DIR", str(folder / "config"))
        patch.setattr(connection, "_given_up", set())
        wandb.teardown()
        yield patch
        wandb.teardown()


@pytest.fixture
def server(place):
    stand_in = WandbServer()
    place.setenv("WANDB_BASE_URL", stand_in.address)
    yield stand_in
    stand_in.close()


def add(server, number, **fields):
    """A run of ours, as small as it may be."""
    config = {"axes": AXES, "study": "s", "seed": number}
    known = {"config": config, "summary": {"status": "finished", "selected/test/accuracy": number / 1000}, "group": "s"}
    server.add("team", "p", f"s-{number:010x}", **{**known, **fields})


# A real study, logged online by W&B's own client, kept by the stand-in, read back through the public API.


@pytest.fixture(scope="module")
def study(place, tmp_path_factory):
    """The records of a study on disk and in W&B, by seed."""
    runs = tmp_path_factory.mktemp("runs")
    stand_in = WandbServer()
    place.setenv("WANDB_BASE_URL", stand_in.address)
    place.chdir(runs)
    assert cli.main(["train", *TINY, f"paths.runs={runs}", "study=s", "-m", "seed=0,1"]) == 0
    wandb.teardown()
    disk = [json.loads(file.read_text()) for file in runs.rglob("run.json")]
    assert [record["tracker"]["mode"] for record in disk] == ["online", "online"]
    found = list(read("wandb:team/transferlab/s"))
    yield {r["axes"]["seed"]: r for r in disk}, {r["axes"]["seed"]: r for _, r in found}, dict(found)
    stand_in.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "key", ["schema", "run_id", "study", "status", "reason", "axes", "config", "metrics", "history"]
)
def test_a_run_reads_from_wandb_as_from_disk(study, seed, key):
    disk, wandbs, _ = study
    assert wandbs[seed][key] == disk[seed][key]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_cost_reads_from_wandb_as_from_disk_but_for_what_was_not_measured(study, seed):
    disk, wandbs, _ = study
    assert wandbs[seed]["cost"] == {key: value for key, value in disk[seed]["cost"].items() if value is not None}
    assert wandbs[seed]["cost"]["seconds"] > 0


@pytest.mark.slow
def test_the_config_is_the_records_to_the_letter_though_wandb_keeps_less_of_it(study):
    disk, wandbs, _ = study
    # the client drops `losses: {}` and writes 1 for 1.0; two strategies would differ by it from those on disk
    assert json.dumps(wandbs[0]["config"]) == json.dumps(disk[0]["config"])
    assert disk[0]["config"]["strategy"]["losses"] == {}


@pytest.mark.slow
def test_stages_train_and_rates_stand_in_the_order_of_the_record(study):
    disk, wandbs, _ = study
    assert [row["trainable"] for row in wandbs[0]["history"]] == [["head"], ["block2", "head"]]
    for ours, theirs in zip(wandbs[0]["history"], disk[0]["history"], strict=True):
        assert list(ours["lr"].items()) == list(theirs["lr"].items())


@pytest.mark.slow
def test_a_run_is_named_by_its_page(study):
    disk, _, found = study
    assert set(found) == {record["tracker"]["url"] for record in disk.values()}


# Projects put into the stand-in by hand.


def test_more_runs_than_a_page_holds_all_come_each_once(server, place):
    for number in range(230):
        add(server, number, history=[{"epoch": 0, "val/accuracy": number / 1000, "trainer/global_step": 1}])
    found = dict(read("wandb:team/p"))
    scores = {record["axes"]["seed"]: record["metrics"]["selected"]["test/accuracy"] for record in found.values()}
    assert scores == {number: number / 1000 for number in range(230)}
    assert {r["axes"]["seed"]: r["history"][0]["val/accuracy"] for r in found.values()} == scores
    assert Counter(server.operations()) == {"Viewer": 1, "Runs": 3, "RunFullHistory": 230}


def test_without_histories_a_hundred_runs_cost_one_request(server):
    for number in range(100):
        add(server, number, history=[{"epoch": 0}])
    assert [record["history"] for _, record in read("wandb:team/p", history=False)] == [[]] * 100
    assert server.operations() == ["Viewer", "Runs"]


def test_the_server_is_asked_for_the_group_alone(server):
    add(server, 1)
    add(server, 2, group="t/u")
    ((_, record),) = read("wandb:team/p/t/u")
    assert record["axes"]["seed"] == 2
    (asked,) = (variables for operation, variables in server.asked if operation == "Runs")
    assert json.loads(asked["filters"]) == {"group": "t/u"}
    assert (asked["entity"], asked["project"]) == ("team", "p")


def test_an_address_without_entity_means_that_of_the_key(server):
    add(server, 1)
    ((where, _),) = read("wandb:p")
    assert where == f"{server.address}/team/p/runs/s-0000000001"


def test_an_empty_project_has_no_runs(server):
    server.runs["team", "p"] = []
    assert list(read("wandb:team/p")) == []


def test_comparisons_are_passed_over_and_runs_of_others_named(server):
    add(server, 1)
    add(server, 2, jobType="compare")
    server.add("team", "p", "resnet", config={"lr": 0.1}, summary={"loss": 1.0}, history=[{"loss": 1.0}])
    server.add("team", "p", "bare")
    found = dict(read("wandb:team/p"))
    page = f"{server.address}/team/p/runs/"
    assert set(found) == {f"{page}s-0000000001", f"{page}resnet", f"{page}bare"}
    for name in ("resnet", "bare"):
        assert found[page + name] == "not a run of transferlab: its config has no axes"
    assert not [v for operation, v in server.asked if operation == "RunFullHistory" and v["name"] == "resnet"]


@pytest.mark.parametrize("state", ["crashed", "running"])
def test_a_run_that_did_not_end_is_interrupted(server, state):
    add(server, 1, state=state, summary={}, history=[{"epoch": 0, "val/accuracy": 0.5, "trainer/global_step": 1}])
    ((_, record),) = read("wandb:team/p")
    assert (record["status"], record["reason"]) == ("interrupted", f"W&B says {state}")
    assert record["metrics"]["selected"] is None
    assert [row["val/accuracy"] for row in record["history"]] == [0.5]


def test_a_history_that_comes_as_a_sample_is_asked_for_whole_and_else_named(server):
    # the stand-in keeps no Parquet files, from which W&B's client reads whole histories
    add(server, 1, history=[{"epoch": epoch, "trainer/global_step": epoch} for epoch in range(9)])
    add(server, 2, history=[{"epoch": 0, "trainer/global_step": 0}])
    server.most = 3
    (_, sampled), (_, whole) = read("wandb:team/p")
    assert sampled.startswith("unreadable: ValueError: only 3 of the 9 rows of its history came (")
    assert "RunParquetHistory" in server.operations()
    assert whole["axes"]["seed"] == 2


def test_reading_leaves_no_folders_behind(server, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for number in range(20):
        add(server, number, jobType="compare" if number % 2 else "scratch")
    made = []
    tidy = wandb_runs._tidy
    monkeypatch.setattr(wandb_runs, "_tidy", lambda page: [made.extend(tmp_path.rglob("s-*")), tidy(page)])
    assert len(list(read("wandb:team/p"))) == 10
    assert len(made) == 20
    assert not (tmp_path / "team").exists()


# What cannot be read is a sentence.


@pytest.mark.parametrize("address", ["wandb:", "wandb:/p", "wandb:team/", "wandb:team//g", "team/p", "wandb:team/p/"])
def test_what_is_no_address_is_a_sentence(address):
    with pytest.raises(InputError, match=r"is no address in W&B; write wandb:entity/project"):
        split(address)


def refused(address="wandb:team/p", timeout=5.0):
    with pytest.raises(InputError) as error:
        list(read(address, timeout=timeout))
    assert KEY not in str(error.value)
    return str(error.value)


def test_a_project_that_is_none_is_a_sentence(server):
    said = refused("wandb:team/q")
    assert said.startswith(f"wandb:team/q cannot be read: {server.address} has no such project")


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ({"all": 401}, "refuses the key; log in again with `wandb login`"),
        ({"Viewer": 403}, "refuses the key; log in again with `wandb login`"),
        ({"Runs": 404}, "has no such project"),
        ({"Runs": 400}, "answered with an error"),
        ({"Runs": None}, "did not answer within 1 s"),
        ({"Runs": 500}, "did not answer within 1 s"),
        ({"Viewer": None}, "did not answer within 1 s"),
        ({"RunFullHistory": None}, "did not answer within 1 s"),
    ],
    ids=str,
)
def test_trouble_with_the_server_is_a_sentence(server, trouble, said):
    for number in range(20):
        add(server, number, history=[{"epoch": 0}])
    server.trouble = trouble
    assert f"wandb:team/p cannot be read: {server.address} {said}" in refused(timeout=1.0)


def test_a_server_that_is_not_there_is_a_sentence(server):
    server.close()
    said = refused()
    assert said == f"the W&B server {server.address} does not answer: see to the network, or set WANDB_BASE_URL"


def test_without_a_key_nobody_is_asked(server, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    said = refused()
    assert said.startswith(f"no W&B key is set for {server.address}: log in with `wandb login`")
    assert server.paths == []


def test_a_comparison_of_a_folder_imports_neither_torch_nor_wandb(tmp_path, write_run):
    for seed in range(3):
        for strategy in ("scratch", "l2_sp"):
            write_run(strategy, seed, 0.5 + seed / 10)
    script = (
        "import sys\n"
        "from transferlab.cli import main\n"
        f"assert main(['compare', {str(tmp_path / 'runs' / 's')!r}]) == 0\n"
        "assert not {'torch', 'wandb'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
