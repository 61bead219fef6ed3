"""What teachers make of the training samples is computed once: a run says the same, and they look no more."""

import signal
from pathlib import Path
from typing import Any

import pytest

from digit_runs import BATCHES, EPOCHS, SAMPLES, run, words
from records import alike, record
from transferlab import cli
from transferlab.cache import columns
from transferlab.losses.teacher import Teacher
from transferlab.module import TransferModule
from transferlab.values import Entered

EXACT = "trainer.precision=64-true"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGINT)  # Lightning ignores Ctrl-C once it has come
    yield tmp_path
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def looked(monkeypatch):
    """How many samples teachers have looked at themselves, a number a batch."""
    seen: list[int] = []
    observe = Teacher.observe

    def watched(self: Teacher, x: Any, y: Any, keep: Any = ()) -> Any:
        seen.extend([] if isinstance(x, Entered) else [len(y)])
        return observe(self, x, y, keep)

    monkeypatch.setattr(Teacher, "observe", watched)
    return seen


GRADUAL = ("strategy/freezing=gradual", "strategy.freezing.every=1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "more"),
    [*((one, ()) for one in ("delta", "kd", "rkd", "lwf", "crd")), ("delta", GRADUAL), ("kd", GRADUAL)],
)
def test_a_run_says_the_same_and_its_teacher_looks_no_more(strategy, more, looked):
    plain = run(strategy, "cache=off", EXACT, *more, study="off")
    by_itself = list(looked)
    assert sum(by_itself) >= EPOCHS * SAMPLES
    looked.clear()
    cached = run(strategy, "cache=on", EXACT, *more, study="on")
    assert sum(looked) <= sum(by_itself) - EPOCHS * SAMPLES  # what is left looked before the first step
    assert (
        (cached["cost"]["cache_hits"] > EPOCHS * SAMPLES) if more else cached["cost"]["cache_hits"] == EPOCHS * SAMPLES
    )
    alike(cached, plain)


def interrupted(strategy, *more, study):
    step = TransferModule.training_step

    def stopping(module: TransferModule, batch: Any, batch_idx: int) -> Any:
        if module.current_epoch == 1:
            raise KeyboardInterrupt
        return step(module, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TransferModule, "training_step", stopping)
        assert cli.main(words(strategy, *more, f"study={study}")) == 130


@pytest.mark.slow
def test_lessons_that_are_gone_when_a_run_goes_on_are_not_those_of_the_net_in_training():
    run("full_finetune", "source.pretrain.seed=7", study="first")
    (teacher,) = Path("runs/first").glob("*/run.json")
    more = [*GRADUAL, "strategy.losses.kd.weight=5", "optimizer.lr=0.05"]
    more += ["+strategy/teacher@strategy.teachers.first=run", f"strategy.teachers.first.folder={teacher.parent}"]
    plain = run("kd", "cache=off", *more, study="off")
    interrupted("kd", "cache=on", *more, study="on")
    assert cli.main(["cache", "clear"]) == 0
    # all that the net's own stages need fits, the lessons beside them do not
    alike(run("kd", "cache=on", "cache.gigabytes=1e-6", *more, study="on"), plain)


@pytest.mark.slow
def test_a_run_goes_on_exactly_where_lessons_alone_are_kept():
    more = [*GRADUAL, "cache=on", "cache.gigabytes=4e-6"]
    whole = run("kd", *more, study="whole")
    interrupted("kd", *more, study="again")
    again = run("kd", *more, study="again")
    assert whole["cost"]["cache_hits"] == again["cost"]["cache_hits"] == EPOCHS * SAMPLES
    alike(again, whole, exactly=True)


@pytest.mark.slow
def test_operations_of_padded_samples_are_those_of_the_whole_way_where_lessons_alone_are_kept(tmp_path):
    text = "".join(f"{'long ' * (number % 7)}word{number % 3},{number % 2}\n" for number in range(60))
    Path("texts.csv").write_text("text,label\n" + text)
    own = ["train", "backbone=gru", "input@backbone.input=words", "backbone.hidden=6", "backbone.embedding=5"]
    own += ["target=text_file", f"target.data.path={tmp_path}/texts.csv", "source=text_file", "target.test=0.3"]
    own += [f"source.pretrain.target.data.path={tmp_path}/texts.csv", "source.pretrain.target.test=0.3"]
    own += ["source.pretrain.max_epochs=1", "strategy=kd", "strategy/freezing=gradual", "strategy.freezing.every=2"]
    own += ["batch_size=8", "trainer.max_epochs=4", "tracker=none", "trainer.accelerator=cpu"]
    flops = {}
    for study, more in (("off", ["cache=off"]), ("on", ["cache=on", "cache.gigabytes=7e-6"])):
        assert cli.main([*own, *more, f"study={study}"]) == 0
        flops[study] = record(study)["cost"]["flops"]
    assert flops["on"] == flops["off"]


def test_of_a_teacher_that_is_asked_only_before_the_first_step_nothing_is_kept():
    assert run("co_tuning", "cache=on")["cost"]["cache_hits"] == 0
    assert not list(Path("cache").glob("activations/*"))


def test_a_second_run_finds_the_lessons_of_the_first(monkeypatch):
    run("delta", "cache=on")
    monkeypatch.setattr(columns.Writer, "add", None)  # who would write would fail
    other = run("delta", "cache=on", "optimizer.lr=0.3", "batch_size=9", study="other")
    assert other["cost"]["cache_hits"] == EPOCHS * SAMPLES


def test_an_interrupted_run_goes_on_with_the_lessons_bit_for_bit(monkeypatch):
    whole = run("delta", "cache=on", study="whole")
    step = TransferModule.training_step

    def stopping(module: TransferModule, batch: Any, batch_idx: int) -> Any:
        if module.global_step == 2 * BATCHES + 1:
            raise KeyboardInterrupt
        return step(module, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(TransferModule, "training_step", stopping)
        assert cli.main(words("delta", "study=again", "cache=on")) == 130
    alike(run("delta", "cache=on", study="again"), whole, exactly=True)


@pytest.mark.slow
def test_another_net_as_a_teacher_keeps_nobody_from_entering_behind_frozen_stages(looked):
    run("full_finetune", "source.pretrain.seed=7", study="first")
    (teacher,) = Path("runs/first").glob("*/run.json")
    more = ["strategy/freezing=gradual", "strategy.freezing.every=1", EXACT]
    more += ["+strategy/teacher@strategy.teachers.first=run", f"strategy.teachers.first.folder={teacher.parent}"]
    plain = run("kd", "cache=off", *more, study="off")
    looked.clear()
    cached = run("kd", "cache=on", *more, study="on")
    assert sum(looked) < SAMPLES
    # its lessons, and the net's own first stages
    assert cached["cost"]["cache_hits"] > EPOCHS * SAMPLES
    alike(cached, plain)


def test_views_of_augmented_samples_have_lessons_of_their_own(looked):
    plain = run("delta", "augmentation=weak", "cache=off", "cache.views=2", EXACT, study="off")
    looked.clear()
    cached = run("delta", "augmentation=weak", "cache=on", "cache.views=2", EXACT, study="on")
    assert sum(looked) < SAMPLES
    alike(cached, plain)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["augmentation=weak"], "cache off for teachers: training samples change from epoch to epoch"),
        (["cache.gigabytes=1e-6"], "GB are more than cache.gigabytes=1e-06 leaves"),
    ],
)
def test_what_cannot_be_kept_says_why_and_runs(more, reason, capfd):
    found = run("delta", "cache=on", *more)
    assert found["cost"]["cache_hits"] == 0
    assert reason in capfd.readouterr().err


def test_a_full_disk_leaves_the_teacher_to_look(monkeypatch, capfd):
    plain = run("delta", "cache=off", study="off")

    def full(self: object, leaf: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(columns.Writer, "add", full)
    alike(run("delta", "cache=on", study="on"), plain)
    assert "cache off: the disk is full" in capfd.readouterr().err
