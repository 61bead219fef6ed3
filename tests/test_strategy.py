from functools import partial

import pytest
import torch

from transferlab.errors import InputError
from transferlab.freezing import full, gradual_unfreezing, linear_probe
from transferlab.losses.base import TransferLoss
from transferlab.losses.outputs.source_task import SourceTask
from transferlab.losses.weights.l2_sp import L2SP
from transferlab.strategy import Strategy

STAGES = ("stem", "layer1", "head")


class Reads(TransferLoss):
    reads = frozenset({"unlabeled"})

    def __init__(self, *activations):
        super().__init__(1.0)
        self.activations = activations

    def forward(self, step):
        return torch.zeros(())


def strategy(**changes):
    parts = {
        "freezing": full,
        "losses": {},
        "start": "source",
        "head": "new",
        "lr_decay": 1.0,
        "frozen_batchnorm": "still",
        "adapter": None,
        "teachers": {},
        "averaging": None,
        "interpolation": None,
        "solver": None,
        "target_labels": "used",
        "views": None,
    }
    return Strategy(**(parts | changes))


def test_without_losses_only_the_target_is_read_and_no_activation():
    plain = strategy()
    assert plain.reads == {"target"}
    assert plain.activations == frozenset()
    assert not plain.replaces_weight_decay


def test_what_is_read_is_what_any_loss_reads():
    losses = {"source_task": SourceTask(1.0, "own"), "one": Reads("stem"), "two": Reads("stem", "layer1")}
    assert strategy(losses=losses).reads == {"target", "source", "unlabeled"}
    assert strategy(losses=losses).activations == {"stem", "layer1"}


def test_one_loss_in_place_of_weight_decay_is_enough():
    assert strategy(losses={"a": Reads(), "l2_sp": L2SP(1.0, 0.1, 0.1)}).replaces_weight_decay
    assert not strategy(losses={"a": Reads()}).replaces_weight_decay


@pytest.mark.parametrize(
    ("key", "word", "allowed"),
    [("start", "sorce", "'source' or 'random'"), ("frozen_batchnorm", "moves", "'still' or 'trains'")],
)
def test_a_wrong_word_raises_with_the_allowed_ones(key, word, allowed):
    with pytest.raises(InputError, match=rf"strategy\.{key}={word}: {allowed}"):
        strategy(**{key: word})


def test_what_trains_is_what_the_schedule_says():
    gradual = strategy(freezing=partial(gradual_unfreezing, every=1))
    assert [gradual.trainable(STAGES, epoch) for epoch in range(3)] == [{"head"}, {"layer1", "head"}, set(STAGES)]


def test_a_schedule_that_names_an_unknown_stage_raises_with_the_nearest():
    wrong = strategy(freezing=lambda stages, epoch: {"head", "layer2"})
    with pytest.raises(InputError, match="'layer2'; did you mean 'layer1'"):
        wrong.trainable(STAGES, 0)


def test_an_unknown_stage_in_a_later_epoch_is_found_before_training():
    wrong = strategy(freezing=lambda stages, epoch: {"head"} if epoch < 3 else {"layer2"})
    with pytest.raises(InputError, match="layer2"):
        wrong.first_epochs(STAGES, 5)


def test_first_epochs_are_when_each_stage_first_trains():
    gradual = strategy(freezing=partial(gradual_unfreezing, every=2))
    assert gradual.first_epochs(STAGES, 10) == {"head": 0, "layer1": 2, "stem": 4}
    assert strategy(freezing=linear_probe).first_epochs(STAGES, 10) == {"head": 0}


def test_a_schedule_that_trains_nothing_in_an_epoch_raises():
    with pytest.raises(InputError, match="trains no stage in epoch 0"):
        strategy(freezing=lambda stages, epoch: set()).first_epochs(STAGES, 4)
