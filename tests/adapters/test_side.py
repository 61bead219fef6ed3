"""Side-tuning: its formula, what trains of it, and its two ends, which are other strategies."""

import copy

import pytest
import torch
from adapted import IMAGES, adapted, of_images, of_vectors, stirred, train
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab import cli
from transferlab.adapters.side import SideTuning
from transferlab.backbones.conv1d import conv1d
from transferlab.backbones.recurrent import recurrent
from transferlab.backbones.small import convnet, mlp
from transferlab.errors import InputError
from transferlab.inputs.series import SeriesInput
from transferlab.module import TransferModule
from transferlab.values import Seq


def of_sequences(dense):
    torch.manual_seed(0)
    made = conv1d(SeriesInput(2, None, "resample", "none"), [3, 4], 3)
    if dense:
        made.cut()
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[-1, 5:] = False
    return made, Seq(torch.randn(3, 8, 2) * mask[..., None], mask)


def of_maps():
    made, x = of_images()
    made.cut()
    return made, x


def of_states():
    torch.manual_seed(0)
    lstm = recurrent(SeriesInput(2, None, "resample", "none"), "lstm", 5, 2, False, 0.5, "last", 4)
    return lstm, of_sequences(False)[1]


MADE = {
    "features": of_images,
    "one stage": lambda: of_vectors((4,)),
    "maps": of_maps,
    "sequence": lambda: of_sequences(True),
    "pooled sequence": lambda: of_sequences(False),
    "lstm": of_states,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One folder, so that the source is pretrained once."""
    return tmp_path_factory.mktemp("runs")


def tensor(value):
    return value.h if isinstance(value, Seq) else value


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_a_copy_of_the_backbone_begins_as_the_backbone(made):
    plain, net, x = adapted(SideTuning(None, 0.5, True, "alone"), made())
    assert torch.equal(tensor(net(x)), tensor(plain(x)))
    again = copy.deepcopy(net)
    assert torch.equal(tensor(again(x)), tensor(plain(x)))
    assert net.parametric == plain.parametric


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_the_side_net_trains_whole_and_nothing_else_does(made):
    plain, net, x = adapted(SideTuning(None, 0.5, True, "alone"), made())
    before = {key: value.clone() for key, value in net.net.state_dict().items()}
    net.set_trainable(net.parametric)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        tensor(net.train()(x)).square().sum().backward()
        side = {f"side.net.net.{name}" for name, _ in plain.net.named_parameters()} | {"side.logit"}
        assert {name for name, p in net.net.named_parameters() if p.grad is not None} == side
        optimizer.step()
    moved = {key for key, value in net.net.state_dict().items() if not torch.equal(value, before[key])}
    assert moved and all(key.startswith("side.") for key in moved)
    assert all(torch.equal(value, before[key]) for key, value in plain.net.state_dict().items())
    assert all(module.training is path.startswith("side") for path, module in net.net.named_modules() if path)


@settings(deadline=None, max_examples=20)
@given(
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.floats(0.01, 0.99), st.booleans(), st.integers(0, 99)
)
def test_the_output_is_the_blend_of_two_nets(samples, width, other, alpha, learned, seed):
    torch.manual_seed(seed)
    side = mlp(IMAGES, [6, other])
    plain, net, _ = adapted(SideTuning(side, alpha, learned, "alone"), of_images((3, width)), seed)
    beside = net.net.side
    assert float(beside.alpha) == pytest.approx(alpha, abs=1e-6)
    plain, net, x = plain.double(), stirred(net.double()), torch.randn(samples, 1, 8, 8, dtype=torch.float64)
    said = beside.net(x)
    if other != width:
        said = said @ beside.fit.weight.T + beside.fit.bias
    share = 1 / (1 + torch.exp(-beside.logit)) if learned else alpha
    torch.testing.assert_close(net(x), share * plain(x) + (1 - share) * said)


def test_a_frozen_last_stage_keeps_the_side_net_still():
    _, net, x = adapted(SideTuning(None, 0.5, True, "alone"), of_images())
    net.set_trainable(["block1"])
    assert not any(p.requires_grad for p in net.parameters())
    before = {key: value.clone() for key, value in net.net.state_dict().items()}
    net.train()(x)
    assert all(torch.equal(value, before[key]) for key, value in net.net.state_dict().items())
    assert net.stage_of("side.net.net.block1.0") == "block2"


def test_the_nets_of_two_runs_are_not_one():
    adapter = SideTuning(mlp(IMAGES, [4]), 0.5, True, "alone")
    first, second = (adapted(adapter, of_images())[1] for _ in range(2))
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    stirred(first)
    assert torch.equal(second.net.side.net.net.layer1[0].weight, adapter.net.net.layer1[0].weight)


def test_a_chain_that_is_entered_behind_its_first_stage_has_no_input_for_the_side_net():
    plain, net, x = adapted(SideTuning(None, 0.5, True, "alone"), of_images())
    h = net.observe(x, ["block1"])[1]["block1"]
    with pytest.raises(InputError, match="the backbone was entered behind it"):
        net(h, start="block2")
    # in two parts it is one pass
    assert torch.equal(net(net(x, stop="block2"), start="block2"), plain(x))
    half = net(x, stop="block2")
    with pytest.raises(InputError, match="the backbone was entered behind it"):
        copy.deepcopy(net)(half, start="block2")


def test_what_does_not_fit_is_refused():
    for alpha, learned, words in (
        (1.5, False, r"alpha=1\.5: a share in \[0, 1\]"),
        (1.0, True, "can never change by learning"),
        (0.0, True, "can never change by learning"),
    ):
        with pytest.raises(InputError, match=words):
            SideTuning(None, alpha, learned, "alone")
    with pytest.raises(InputError, match="a plain net cannot compute"):
        SideTuning(None, 0.5, True, "merged")
    side = convnet(IMAGES, [3])
    with pytest.raises(InputError, match=r"set strategy\.adapter\.net=null"):
        adapted(SideTuning(side, 0.5, True, "alone"), of_maps())
    with pytest.raises(InputError, match="'mlp' has no parameters"):
        adapted(SideTuning(None, 0.5, True, "alone"), of_vectors(()))


@pytest.mark.parametrize(("alpha", "other"), [(1, "linear_probe"), (0, "full_finetune")])
@pytest.mark.slow
def test_at_its_ends_a_run_is_a_linear_probe_or_fine_tuning(runs, alpha, other):
    words = ("strategy=side_tuning", f"strategy.adapter.alpha={alpha}", "strategy.adapter.learned=false")
    side, _ = train(runs, f"side_{other}", *words)
    plain, _ = train(runs, other, f"strategy={other}")
    for ours, theirs in zip(side["history"], plain["history"], strict=True):
        # weights that lie otherwise in memory have their steps rounded otherwise
        assert ours["train/task_loss"] == pytest.approx(theirs["train/task_loss"], rel=1e-5)
        assert ours["val/accuracy"] == theirs["val/accuracy"]
    assert side["metrics"]["selected"]["test/loss"] == pytest.approx(
        plain["metrics"]["selected"]["test/loss"], rel=1e-5
    )


@pytest.mark.slow
def test_a_run_changes_and_keeps_the_side_net_and_the_head_alone(runs, monkeypatch):
    ended = []
    monkeypatch.setattr(
        TransferModule,
        "on_train_epoch_end",
        lambda module: ended.append({key: value.clone() for key, value in module.state_dict().items()}),
    )
    record, folder = train(runs, "side", "strategy=side_tuning")
    source = torch.load(record["data"]["source_weights"], weights_only=True)
    own = [key for key in source if key.startswith("backbone.")]
    # the first one is the source's own epoch
    assert own and all(torch.equal(end[key], source[key]) for end in ended[1:] for key in own)
    kept = torch.load(folder / "selected.pt", weights_only=True)
    assert all(key.startswith(("backbone.net.side.", "head.")) for key in kept)
    copies = [(kept[key.replace("net.", "net.side.net.net.", 1)], source[key]) for key in own]
    assert not any(torch.equal(*pair) for pair in copies if pair[0].ndim) and kept["backbone.net.side.logit"] != 0
    sizes = {
        part: sum(value.numel() for key, value in kept.items() if part in key) for part in ("head.", "running", "num_")
    }
    backbone = sum(source[key].numel() for key in own) - sizes["running"] - sizes["num_"]
    assert record["cost"]["trainable_parameters"] == backbone + 1 + sizes["head."]
    assert record["cost"]["total_parameters"] == 2 * backbone + 1 + sizes["head."]


@pytest.mark.slow
def test_another_net_comes_from_a_node_of_the_config(runs, capsys):
    node = ("strategy=side_tuning", "+backbone@strategy.adapter.net=mlp", "strategy.adapter.net.widths=[5]")
    record, folder = train(runs, "mlp", *node, "strategy.adapter.net.input=${backbone.input}")
    kept = torch.load(folder / "selected.pt", weights_only=True)
    assert kept["backbone.net.side.net.net.layer1.0.weight"].shape == (5, 64)
    assert kept["backbone.net.side.fit.weight"].shape == (8, 5)
    assert record["axes"]["backbone"] == "convnet"
    words = (*node, "source=none", "target=digits", "backbone.input.shape=[1,8,8]", f"paths.runs={runs}")
    assert cli.main(["train", *words, "tracker=none"]) == 1
    assert "strategy.adapter.net takes another input than this run's backbone" in capsys.readouterr().err


@pytest.mark.slow
def test_a_picture_that_enters_the_chain_late_is_refused_before_training(runs):
    words = ("strategy=side_tuning", "diagnostics.saliency.samples=[0]")
    record, _ = train(runs, "picture", *words, "diagnostics=default", status=1)
    assert "diagnostics.saliency" in record["reason"] and record["history"] == []
