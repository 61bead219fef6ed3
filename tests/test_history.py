import errno
import os
from functools import partial
from math import nan
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from transferlab import history as history_module
from transferlab.backbones.small import mlp
from transferlab.errors import InputError
from transferlab.freezing import full, gradual_unfreezing
from transferlab.history import History, KeepSelected, load_weights, save_weights, weights
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import TransferLoss
from transferlab.module import TransferModule
from transferlab.optim import Schedule, cosine
from transferlab.selection.rules import last, target_validation
from transferlab.strategy import Strategy
from transferlab.tasks.classification import Classification


class WithWeights(TransferLoss):
    """A loss with a net and an anchor of its own."""

    def __init__(self):
        super().__init__(1.0)
        self.net = nn.Linear(4, 2)
        self.register_buffer("anchor", torch.ones(3))

    def forward(self, step):
        return torch.zeros(())


def module(seed=0, freezing=full, losses=None):
    torch.manual_seed(seed)
    backbone = mlp(ArrayInput.of(5), [6, 4])
    task = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")
    strategy = Strategy(freezing, losses or {}, "source", "new", 1.0, "still", None, {}, None, None, None, "used", None)
    schedule = Schedule(cosine, 0.0, "per_stage")
    head = task.build_head(backbone, 3, torch.zeros(2, 5))
    return TransferModule(backbone, head, task, strategy, partial(torch.optim.SGD, lr=0.1), schedule, 3, seed)


class Log:
    def __init__(self):
        self.rows = []

    def log_metrics(self, metrics, step):
        self.rows.append((step, metrics))


def trainer(epoch, metrics=None, rates=None, logger=None, step=0, zero=True):
    """As much of a Trainer as the callbacks look at."""
    groups = [{"name": name, "lr": rate} for name, rate in (rates or {}).items()]
    return SimpleNamespace(
        current_epoch=epoch,
        callback_metrics={key: torch.tensor(value) for key, value in (metrics or {}).items()},
        optimizers=[SimpleNamespace(param_groups=groups)],
        logger=logger,
        global_step=step,
        is_global_zero=zero,
    )


def epoch_of(history, net, number, metrics, rates, sizes=(3,), logger=None, step=0):
    state = trainer(number, metrics, rates, logger, step)
    start_epoch(net, number)
    history.on_train_epoch_start(state, net)
    for size in sizes:
        batch = {"target": (torch.zeros(size, 5), torch.zeros(size)), "source": (torch.zeros(9, 5), torch.zeros(9))}
        history.on_train_batch_end(state, net, None, batch, 0)
    history.on_train_epoch_end(state, net)


def start_epoch(net, number):
    chosen = net.strategy.trainable(net.stages, number)
    net.trainable = tuple(stage for stage in net.stages if stage in chosen)
    net.backbone.set_trainable(chosen - {"head"}, "still")
    net.head.requires_grad_("head" in chosen)


@pytest.fixture
def gradual():
    """A history of two epochs under gradual unfreezing."""
    net, history = module(freezing=partial(gradual_unfreezing, every=1)), History()
    for number in range(2):
        epoch_of(history, net, number, {"val/accuracy": 0.5 + number / 4}, {"head": 0.1 / (number + 1)}, sizes=(3, 2))
    return net, history


def test_a_row_holds_metrics_trained_stages_and_rates(gradual):
    assert gradual[1].rows == [
        {"epoch": 0, "val/accuracy": 0.5, "trainable": ["head"], "lr": {"head": 0.1}},
        {"epoch": 1, "val/accuracy": 0.75, "trainable": ["layer2", "head"], "lr": {"head": 0.05}},
    ]


def test_the_rates_of_a_row_are_those_of_the_epochs_first_step():
    net, history = module(), History()
    start_epoch(net, 0)
    history.on_train_epoch_start(trainer(0, rates={"head": 0.1}), net)
    history.on_train_epoch_end(trainer(0, rates={"head": 0.001}), net)
    assert history.rows[0]["lr"] == {"head": 0.1}


def test_samples_are_those_of_the_target(gradual):
    assert gradual[1].samples == 2 * (3 + 2)


def test_what_trained_in_any_epoch_counts_as_trained():
    net, history = module(freezing=lambda stages, epoch: {"head"} if epoch == 0 else {"layer2"}), History()
    for number in range(2):
        epoch_of(history, net, number, {}, {})
    sizes = {name: p.numel() for name, p in net.named_parameters()}
    assert sum(sizes[name] for name in history.trained) == (4 * 3 + 3) + (6 * 4 + 4)
    assert {"head.weight", "head.bias"} < history.trained


def test_the_logger_hears_flags_share_and_rates_at_the_epochs_last_step():
    net, history, log = module(freezing=partial(gradual_unfreezing, every=1)), History(), Log()
    epoch_of(history, net, 0, {}, {"head": 0.1, "backbone/layer1": 0.0}, logger=log, step=7)
    head, layer1, layer2 = 4 * 3 + 3, 5 * 6 + 6, 6 * 4 + 4
    ((step, logged),) = log.rows
    assert step == 6
    assert logged == pytest.approx(
        {
            "trainable/layer1": 0.0,
            "trainable/layer2": 0.0,
            "trainable/head": 1.0,
            "trainable/share": head / (head + layer1 + layer2),
            "lr/head": 0.1,
            "lr/backbone/layer1": 0.0,
        }
    )


def test_a_history_goes_on_where_its_state_was_saved(gradual, tmp_path):
    net, history = gradual
    torch.save(history.state_dict(), tmp_path / "state.pt")
    again = History()
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert again.state_dict() == history.state_dict()
    for one in (history, again):
        epoch_of(one, net, 2, {"val/accuracy": 1.0}, {"head": 0.01})
    assert again.rows == history.rows
    assert len(again.rows) == 3
    assert (again.samples, again.trained) == (history.samples, history.trained)


def test_seconds_are_added_to_those_before_the_interruption(monkeypatch):
    now = [5.0]
    monkeypatch.setattr(history_module.time, "perf_counter", lambda: now[0])
    net, history = module(), History()
    history.load_state_dict({"rows": [], "seconds": 100.0, "samples": 0, "trained": []})
    start_epoch(net, 0)
    history.on_train_epoch_start(trainer(0), net)
    now[0] += 7.0
    history.on_train_epoch_end(trainer(0), net)
    assert history.seconds == 107.0


def selected(scores, rule, path):
    """Which epoch is kept of these, whose weights are their epoch's number."""
    net, history = module(), History()
    keep = KeepSelected(rule, history, path)
    for number, score in enumerate(scores):
        history.rows.append({"epoch": number, "val/accuracy": score, "val/loss": score})
        with torch.no_grad():
            net.head.bias.fill_(float(number))
        keep.on_train_epoch_end(trainer(number), net)
    kept = torch.load(path, weights_only=True)["head.bias"][0].item()
    assert kept == keep.epoch
    return keep


@pytest.mark.parametrize(
    ("scores", "epoch"),
    [([0.1, 0.9, 0.5], 1), ([0.9, 0.5, 0.9, 0.2], 2), ([0.5, 0.5, 0.5], 2), ([0.0, 0.0], 1), ([0.3], 0)],
)
def test_the_epoch_kept_is_the_best_and_of_equals_the_latest(scores, epoch, tmp_path):
    keep = selected(scores, partial(target_validation, metric="val/accuracy"), tmp_path / "selected.pt")
    assert keep.epoch == epoch
    assert keep.best == max(scores)


@pytest.mark.parametrize(("scores", "epoch"), [([nan, 0.5, 0.9], 2), ([0.5, nan], 0), ([nan, 0.4, nan], 1)])
def test_a_score_that_is_no_number_loses_against_every_number(scores, epoch, tmp_path):
    assert selected(scores, partial(target_validation, metric="val/accuracy"), tmp_path / "selected.pt").epoch == epoch


def test_what_is_best_is_said_by_the_rule(tmp_path):
    scores = [0.4, 0.1, 0.3]
    rule = partial(target_validation, metric="val/loss")
    assert selected(scores, rule, tmp_path / "a.pt").epoch == 1
    assert selected(scores, last, tmp_path / "b.pt").epoch == 2


def test_a_rule_that_cannot_score_keeps_nothing(tmp_path):
    with pytest.raises(InputError, match=r"selection\.metric=val/f1"):
        selected([0.5], partial(target_validation, metric="val/f1"), tmp_path / "selected.pt")
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_process_writes(tmp_path):
    history = History()
    history.rows.append({"epoch": 0})
    keep = KeepSelected(last, history, tmp_path / "selected.pt")
    keep.on_train_epoch_end(trainer(0, zero=False), module())
    assert keep.epoch == 0
    assert list(tmp_path.iterdir()) == []


def test_keeping_goes_on_where_its_state_was_saved(tmp_path):
    keep = selected([0.1, 0.8], partial(target_validation, metric="val/accuracy"), tmp_path / "selected.pt")
    again = KeepSelected(keep.rule, History(), keep.path)
    again.load_state_dict(keep.state_dict())
    again.history.rows.append({"epoch": 2, "val/accuracy": 0.7})
    again.on_train_epoch_end(trainer(2), module())
    assert (again.best, again.epoch) == (0.8, 1)


def test_weights_written_are_the_weights_read(tmp_path):
    one, other = module(seed=0), module(seed=1)
    assert not torch.equal(one.head.weight, other.head.weight)
    save_weights(one, tmp_path / "w.pt")
    load_weights(other, tmp_path / "w.pt")
    for key, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_the_weights_of_a_loss_are_neither_written_nor_read(tmp_path):
    one, other = (module(seed, losses={"extra": WithWeights()}) for seed in (0, 1))
    with torch.no_grad():
        one.losses["extra"].anchor.fill_(5.0)
    before = {key: value.clone() for key, value in other.losses.state_dict().items()}
    save_weights(one, tmp_path / "w.pt")
    written = torch.load(tmp_path / "w.pt", weights_only=True)
    parts = {f"{name}.{key}" for name in ("backbone", "head") for key in getattr(one, name).state_dict()}
    assert written.keys() == weights(one).keys() == parts
    load_weights(other, tmp_path / "w.pt")
    assert torch.equal(other.head.weight, one.head.weight)
    assert all(torch.equal(value, before[key]) for key, value in other.losses.state_dict().items())


def test_weights_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    save_weights(module(seed=0), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("transferlab.files.os.replace", full)
    with pytest.raises(InputError, match="No space left"):
        save_weights(module(seed=1), path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    save_weights(module(seed=1), path)
    assert path.read_bytes() != before
    assert [file.name for file in tmp_path.iterdir()] == ["w.pt"]
