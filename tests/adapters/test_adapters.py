"""What every adapter keeps to: the rest is frozen, and a run keeps what can change and no more."""

import pytest
import torch
from adapted import adapted, of_images, stirred, train

from transferlab import cli
from transferlab.adapters.bottleneck import BottleneckAdapter
from transferlab.adapters.chosen import BitFit, NormTuning
from transferlab.adapters.peft import IA3, Lora
from transferlab.errors import InputError

LORA = Lora(2, 4, 0.0, False, ["linear", "conv"], ["*"], None, "merged")
DORA = Lora(2, 4, 0.0, True, ["linear", "conv"], ["*"], None, "merged")
SCALES = IA3([], ["linear", "conv"], ["*"], None, "merged")
BEHIND = BottleneckAdapter(3, None, None, "alone")
EVERY = [LORA, DORA, SCALES, BEHIND, BitFit(None, "merged"), NormTuning(None, "merged")]
NAMES = ["lora", "dora", "ia3", "adapter", "bitfit", "norm_tuning"]


@pytest.mark.parametrize("adapter", EVERY, ids=NAMES)
def test_at_first_the_net_computes_what_it_did(adapter):
    plain, net, x = adapted(adapter, of_images())
    torch.testing.assert_close(net(x), plain(x), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("adapter", EVERY, ids=NAMES)
def test_of_a_stage_that_trains_the_adapter_alone_trains_and_of_a_frozen_one_nothing(adapter):
    _, net, x = adapted(adapter, of_images())
    net.set_trainable(["block2"])
    net.train()(x).square().sum().backward()
    trained = {name for name, p in net.net.named_parameters() if p.grad is not None}
    assert trained == {n for n, p in net.net.named_parameters() if net.stage_of(n) == "block2" and n in net.changing()}
    assert 0 < len(trained) < len(list(net.net.parameters())) / 2


@pytest.mark.parametrize("adapter", EVERY, ids=NAMES)
def test_the_frozen_rest_is_in_evaluation_mode(adapter):
    _, net, x = adapted(adapter, of_images())
    net.set_trainable(net.parametric)
    before = {key: value.clone() for key, value in net.net.state_dict().items()}
    net.train()(x)
    moved = {key for key, value in net.net.state_dict().items() if not torch.equal(value, before[key])}
    names = ("running_mean", "running_var", "num_batches_tracked")
    statistics = {f"block{n}.1.{name}" for n in (1, 2) for name in names}
    # the norms follow the target where they train, and nowhere else
    assert moved == (statistics if isinstance(adapter, NormTuning) else set())


@pytest.mark.parametrize("adapter", [a for a in EVERY if a.merges], ids=[n for n in NAMES if n != "adapter"])
def test_merged_it_is_a_plain_net_that_computes_the_same(adapter):
    plain, net, x = adapted(adapter, of_images())
    expected = stirred(net)(x)
    assert not torch.allclose(expected, plain(x), rtol=1e-3)
    adapter.merge(net)
    assert net.net.state_dict().keys() == plain.net.state_dict().keys()
    torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)
    plain.net.load_state_dict(net.net.state_dict())
    assert torch.equal(plain(x), net(x))


def test_what_cannot_be_merged_says_so_before_anything_trains():
    with pytest.raises(InputError, match="a plain net cannot compute what this adapter does: alone"):
        BottleneckAdapter(3, None, None, "merged")
    with pytest.raises(InputError, match="'alone' or 'merged'"):
        BitFit(None, "whole")


@pytest.mark.parametrize("strategy", NAMES)
@pytest.mark.slow
def test_a_run_changes_and_keeps_the_adapter_and_the_head_alone(tmp_path, strategy):
    record, folder = train(tmp_path, "alone", f"strategy={strategy}")
    source = torch.load(record["data"]["source_weights"], weights_only=True)
    kept = torch.load(folder / "selected.pt", weights_only=True)
    assert {"head.weight", "head.bias"} < kept.keys()
    assert not any(torch.equal(kept[key], source[key]) for key in kept if key in source and kept[key].ndim)
    parameters = sum(value.numel() for key, value in kept.items() if "running" not in key and "num_batches" not in key)
    assert record["cost"]["trainable_parameters"] == parameters < record["cost"]["total_parameters"]
    assert record["cost"]["weights_bytes"] == (folder / "selected.pt").stat().st_size


@pytest.mark.slow
def test_a_merged_run_is_a_source_and_a_teacher_like_any_other(tmp_path):
    record, folder = train(tmp_path, "lora", "strategy=lora", "strategy.adapter.save=merged")
    kept = torch.load(folder / "selected.pt", weights_only=True)
    assert not [key for key in kept if "lora" in key]
    # its own head is carried over and nothing else happens, so that it scores what the run scored
    words = ("strategy=linear_probe", "strategy.head=source", "optimizer.lr=1e-12")
    again, _ = train(
        tmp_path, "again", *words, source=("source=checkpoint", f"source.weights={folder / 'selected.pt'}")
    )
    for key, value in record["metrics"]["selected"].items():
        if key.startswith("test/"):
            assert again["metrics"]["selected"][key] == pytest.approx(value, abs=1e-5)


@pytest.mark.slow
def test_a_teacher_may_have_an_adapter(tmp_path):
    _, folder = train(tmp_path, "lora", "strategy=lora")
    words = ("strategy=kd", "+strategy/teacher@strategy.teachers.tuned=run", f"strategy.teachers.tuned.folder={folder}")
    _, merged = train(tmp_path, "merged", "strategy=lora", "strategy.adapter.save=merged")
    alone, _ = train(tmp_path, "taught", *words)
    whole, _ = train(tmp_path, "taught2", *words[:2], f"strategy.teachers.tuned.folder={merged}")
    pairs = zip(alone["history"], whole["history"], strict=True)
    assert all(a["train/kd_loss"] == pytest.approx(b["train/kd_loss"], rel=1e-4) for a, b in pairs)


@pytest.mark.slow
def test_a_teacher_whose_net_is_nowhere_is_refused(tmp_path, capsys):
    _, folder = train(tmp_path, "lora", "strategy=lora", "strategy.start=random", source=("source=none",))
    words = ("strategy=kd", "+strategy/teacher@strategy.teachers.tuned=run", f"strategy.teachers.tuned.folder={folder}")
    record, _ = train(tmp_path, "taught", *words, status=1)
    assert "kept its adapter alone, and the net that it stands in is no longer known" in record["reason"]


@pytest.mark.slow
def test_an_adapter_alone_is_no_source(tmp_path, capsys):
    _, folder = train(tmp_path, "lora", "strategy=lora")
    given = ("source=checkpoint", f"source.weights={folder / 'selected.pt'}")
    record, _ = train(tmp_path, "again", "strategy=linear_probe", source=given, status=1)
    assert "a run with an adapter keeps them with strategy.adapter.save=merged" in record["reason"]


def test_a_schedule_says_when_and_the_adapter_what(tmp_path):
    words = ("strategy=lora", "strategy/freezing=gradual", "strategy.freezing.every=1", "selection=last")
    record, folder = train(tmp_path, "gradual", *words, "trainer.max_epochs=2")
    assert [row["trainable"] for row in record["history"]] == [["head"], ["block2", "head"]]
    kept = torch.load(folder / "last.pt", weights_only=True)
    b = {key: value for key, value in kept.items() if "lora_B" in key}
    assert [bool(b[key].any()) for key in sorted(b)] == [False, True]


def test_an_epoch_in_which_nothing_trains_is_refused(tmp_path, capsys):
    words = ("strategy=lora", "strategy/freezing=chain_thaw", "strategy.adapter.stages=[-1]")
    record, _ = train(tmp_path, "nothing", *words, status=1)
    assert "nothing trains in epoch 2: the schedule trains block1" in record["reason"]
    assert record["history"] == []


@pytest.mark.slow
def test_a_line_between_two_nets_is_none_between_two_products(tmp_path, capsys):
    words = ("train", "strategy=wise_ft", "+strategy/adapter=lora", "target=digits", f"paths.runs={tmp_path}")
    assert cli.main(list(words)) == 1
    assert "between two states of this adapter is none" in capsys.readouterr().err
    record, _ = train(
        tmp_path, "line", "strategy=wise_ft", "+strategy/adapter=bitfit", "strategy.freezing.probe_epochs=1"
    )
    assert [row["alpha"] for row in record["interpolation"]["curve"]] == [0, 0.25, 0.5, 0.75, 1]


def test_a_source_is_not_pretrained_to_an_adapter_without_its_net(tmp_path, capsys):
    words = ("train", "source=digits", "target=mnist5k", "strategy@source.pretrain.strategy=lora")
    assert cli.main([*words, f"paths.runs={tmp_path}", "tracker=none"]) == 1
    assert "must keep a whole backbone: merged" in capsys.readouterr().err


@pytest.mark.parametrize("strategy", ["l2_sp", "ewc"])
@pytest.mark.slow
def test_a_pull_to_the_source_knows_no_new_weights(tmp_path, capsys, strategy):
    record, _ = train(tmp_path, "pulled", f"strategy={strategy}", "+strategy/adapter=lora", status=1)
    assert f"loss '{strategy}' pulls towards the source's weights, and those that strategy.adapter" in record["reason"]
    train(tmp_path, "biases", f"strategy={strategy}", "+strategy/adapter=bitfit")
