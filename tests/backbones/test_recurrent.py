"""A chain of layers is torch's own net of as many layers, and padding has no influence."""

import json
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from transferlab import cli
from transferlab.backbones.checking import check_chain
from transferlab.backbones.recurrent import recurrent
from transferlab.errors import InputError
from transferlab.flops import _RECURRENT, _Counter
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.series import SeriesInput
from transferlab.values import Seq

FRAMES = SeriesInput(3, None, "resample", "none")
TORCHS = {"lstm": nn.LSTM, "gru": nn.GRU}
CELLS = [(cell, both) for cell in TORCHS for both in (False, True)]
each_cell = pytest.mark.parametrize(("cell", "both"), CELLS, ids=["lstm", "bilstm", "gru", "bigru"])


@dataclass(frozen=True)
class Words:
    vocabulary: int = 11
    kind: str = "texts"

    def example(self, count):
        ids = torch.arange(count * 7).reshape(count, 7) % self.vocabulary
        return Seq(ids, torch.arange(7) < 7 - torch.arange(count)[:, None])


def net(cell="lstm", both=False, layers=2, pooling="last", given=FRAMES, dropout=0.3, hidden=4):
    torch.manual_seed(0)
    return recurrent(given, cell, hidden, layers, both, dropout, pooling, embedding=5)


def torchs(backbone, cell, both, layers):
    """Torch's own net of several layers with the same weights."""
    theirs = TORCHS[cell](3, 4, layers, batch_first=True, bidirectional=both)
    ours = {
        name.replace("_l0", f"_l{number - 1}"): weight
        for number in range(1, layers + 1)
        for name, weight in backbone.net.get_submodule(f"layer{number}").state_dict().items()
    }
    theirs.load_state_dict(ours, strict=True)
    return theirs


def last_states(theirs, x):
    """The state of the last layer behind the last step of each direction, as torch returns it beside its outputs."""
    packed = pack_padded_sequence(x.h, x.mask.sum(1), batch_first=True, enforce_sorted=False)
    _, states = theirs(packed)
    hidden = states[0] if isinstance(states, tuple) else states
    return torch.cat(list(hidden[-(2 if theirs.bidirectional else 1) :]), 1)


@each_cell
@pytest.mark.parametrize("layers", [1, 3])
def test_the_chain_is_torchs_own_net_of_several_layers(cell, both, layers):
    backbone = net(cell, both, layers).eval()
    theirs = torchs(backbone, cell, both, layers)
    x = FRAMES.example(4)
    assert torch.equal(backbone(x), last_states(theirs, x))
    check_chain(backbone, lambda value: last_states(theirs, value), x)


@each_cell
def test_its_gradients_are_those_of_torchs_own_net(cell, both):
    backbone = net(cell, both, dropout=0.0).train()
    theirs = torchs(backbone, cell, both, 2)
    x = FRAMES.example(3)
    backbone(x).square().sum().backward()
    last_states(theirs, x).square().sum().backward()
    ours = [p.grad for number in (1, 2) for p in backbone.net.get_submodule(f"layer{number}").parameters()]
    for mine, their in zip(ours, [p.grad for p in theirs.parameters()], strict=True):
        torch.testing.assert_close(mine, their)


@each_cell
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("given", [FRAMES, Words()], ids=["frames", "words"])
def test_a_sequence_has_the_same_features_in_a_padded_batch_as_alone(cell, both, pooling, given):
    backbone = net(cell, both, pooling=pooling, given=given).eval()
    batch = given.example(4)
    # what stands behind a sequence's end is no zero
    filler = 1e3 if batch.h.is_floating_point() else 7
    wide = batch.mask.reshape(*batch.mask.shape, *[1] * (batch.h.ndim - 2))
    padded = Seq(torch.where(wide, batch.h, torch.full_like(batch.h, filler)), batch.mask)
    alone = [backbone(Seq(h[m][None], m[m][None])) for h, m in zip(batch.h, batch.mask, strict=True)]
    torch.testing.assert_close(backbone(padded), torch.cat(alone), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("pooling", "naive"), [("mean", lambda h: h.mean(0)), ("max", lambda h: h.amax(0))])
def test_pooling_is_over_the_real_steps_of_the_last_layer(pooling, naive):
    backbone = net("gru", True, pooling=pooling).eval()
    steps = backbone(FRAMES.example(3), stop="pool")
    expected = torch.stack([naive(h[m]) for h, m in zip(steps.h, steps.mask, strict=True)])
    torch.testing.assert_close(backbone(steps, start="pool"), expected)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_sequence_without_any_step_has_features_too(pooling):
    batch = FRAMES.example(3)
    batch.mask[1] = False
    assert net(pooling=pooling).eval()(batch).isfinite().all()


def test_stages_are_layers_and_words_are_embedded_first():
    assert net(layers=3).stages == ("layer1", "layer2", "layer3", "pool")
    backbone = net(given=Words())
    assert backbone.stages == ("embeddings", "layer1", "layer2", "pool")
    assert backbone.parametric == ("embeddings", "layer1", "layer2")
    assert backbone.net.get_submodule("embeddings").weight.shape == (11, 5)
    assert net(both=True).features == 8 and net().features == 4
    assert [net(cell, both).name for cell, both in CELLS] == ["lstm", "bilstm", "gru", "bigru"]


@each_cell
def test_entering_at_every_boundary_gives_the_full_pass(cell, both):
    backbone = net(cell, both, layers=3, given=Words()).eval()
    x = Words().example(3)
    for stage in backbone.stages:
        assert torch.equal(backbone(backbone(x, stop=stage), start=stage), backbone(x))


def test_a_chain_without_its_pooling_gives_the_sequence():
    backbone = net(both=True)
    backbone.cut()
    x = FRAMES.example(3)
    given = backbone(x)
    assert given.h.shape == (*x.h.shape[:2], 8)
    assert torch.equal(given.mask, x.mask)


def test_dropout_lies_between_layers_and_rests_in_a_frozen_one():
    backbone = net(layers=3, dropout=0.5).train()
    x = FRAMES.example(2)
    assert (backbone(x, stop="layer2").h == 0).float().mean() > 0.4
    assert (backbone(x, stop="pool").h[x.mask] != 0).all()
    backbone.set_trainable(["layer3", "pool"])
    backbone.train()
    assert torch.equal(backbone(x), backbone(x))


def test_a_frozen_layer_above_one_that_trains_is_run_as_cudnn_asks_and_stays_frozen():
    backbone = net()
    backbone.set_trainable(["layer1"])
    backbone.train()
    frozen = backbone.net.get_submodule("layer2")
    modes = []
    frozen.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    backbone(FRAMES.example(2)).sum().backward()
    assert modes == [True]
    assert not frozen.training
    assert backbone.net.get_submodule("layer1").weight_ih_l0.grad.abs().sum() > 0
    assert frozen.weight_ih_l0.grad is None


def test_it_can_be_pickled():
    backbone = net(both=True).eval()
    x = FRAMES.example(2)
    assert torch.equal(pickle.loads(pickle.dumps(backbone))(x), backbone(x))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"cell": "lstn"}, "no backbone.cell 'lstn'; did you mean 'lstm'"),
        ({"pooling": "mid"}, r"no backbone.pooling 'mid'.*last, mean, max"),
        ({"layers": 0}, "backbone.layers=0: at least 1"),
        ({"hidden": 0}, "backbone.hidden=0: at least 1"),
        ({"dropout": 1.0}, r"backbone.dropout=1.0: a share in \[0, 1\)"),
        ({"given": ArrayInput.of(1, 8, 8)}, "'lstm' takes series, its input gives images: set input@backbone.input"),
    ],
)
def test_a_wrong_word_is_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        net(**wrong)


def products(steps, gates, inputs, units, directions):
    """A multiplication and an addition for every weight at every step."""
    return 2 * steps * gates * units * (inputs + units) * directions


def counted(work):
    counter = _Counter()
    with counter:
        work()
    assert counter.error is None
    return counter.get_total_flops()


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3)])
def test_a_frozen_nets_flops_are_its_gates_products_at_real_steps_alone(cell, gates):
    backbone = net(cell, True).eval().requires_grad_(False)
    x = FRAMES.example(4)
    steps = int(x.mask.sum())
    by_hand = products(steps, gates, 3, 4, 2) + products(steps, gates, 8, 4, 2)
    assert counted(lambda: backbone(x)) == by_hand


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3)])
def test_training_costs_three_times_the_forward_pass_but_for_the_first_states_gradient(cell, gates):
    backbone = net(cell, dropout=0.0).train()
    x = FRAMES.example(4)
    steps = int(x.mask.sum())
    forward = products(steps, gates, 3, 4, 1) + products(steps, gates, 4, 4, 1)
    of_the_inputs = 2 * steps * gates * 4 * 3  # data need no gradient
    of_first_states = 2 * 2 * len(x.h) * gates * 4 * 4  # nor do the zeros with which both layers begin
    by_hand = 3 * forward - of_the_inputs - of_first_states
    assert counted(lambda: backbone(x).sum().backward()) == by_hand


def test_a_layer_that_a_library_does_at_once_is_counted_by_formula():
    by_hand = products(8, 4, 3, 4, 2)
    shapes = 2 * [(16, 3), (16, 4), (16,), (16,)]  # both directions' matrices and biases
    flat, state, *weights = (torch.empty(*shape, device="meta") for shape in [(8, 3), (2, 2, 4), *shapes])
    options = [2, 4, 0, 1, False, 0.0, True, True, [2, 2, 2, 1, 1], None]
    assert counted(lambda: torch.ops.aten._cudnn_rnn(flat, weights, 4, None, state, state, *options)) == by_hand
    backward = _RECURRENT[torch.ops.aten._cudnn_rnn_backward]
    assert backward((8, 3), shapes, [True, False, False, True], out_shape=None) == 2 * by_hand
    assert backward((8, 3), shapes, [True, False, False, False], out_shape=None) == by_hand


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch is built without oneDNN")
def test_torchs_net_on_unpacked_sequences_is_counted_too():
    theirs, x = nn.LSTM(3, 4, batch_first=True, bidirectional=True), torch.randn(2, 5, 3, requires_grad=True)
    assert counted(lambda: theirs(x)[0].sum().backward()) == 3 * products(10, 4, 3, 4, 2)


def test_the_flops_of_a_run_are_recorded(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=np.arange(40) % 2)
    words = ["backbone=gru", "backbone.hidden=4", "backbone.layers=1", "strategy=linear_probe", "source=none"]
    data = ["target=series", f"target.data.path={tmp_path}/own.npz", f"paths.runs={tmp_path}"]
    run = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "tracker=none"]
    assert cli.main(["train", *words, *data, *run]) == 0
    (file,) = tmp_path.glob("default/*/run.json")
    cost = json.loads(file.read_text())["cost"]
    assert cost["flops"] == cost["samples"] * (products(6, 3, 1, 4, 1) + 2 * 2 * 4 * 2)
