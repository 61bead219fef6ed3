import pickle

import pytest
import torch
from torch import nn

from transferlab.backbones import weights
from transferlab.backbones.base import Backbone
from transferlab.backbones.checking import check_chain
from transferlab.backbones.small import convnet, mlp
from transferlab.backbones.stages import Stage
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.values import Pair, Seq, masked_mean


def flatten(net, x):
    return x.flatten(1)


def add_offset(net, x):
    return x + net.offset


class Net(nn.Module):
    """Two blocks with BatchNorm and dropout, a bare parameter and a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.second = nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5))
        self.offset = nn.Parameter(torch.randn(5))
        self.register_buffer("scale", torch.ones(1))
        self.classifier = nn.Linear(5, 2)

    def forward(self, x):
        return self.second(self.first(x.flatten(1))) + self.offset


STAGES = (
    Stage("first", [flatten, "first"]),
    Stage("second", ["second"]),
    Stage("shift", [add_offset], owns=["offset", "scale"]),
)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return Backbone(Net(), STAGES, 5, "net", ignored=["classifier"])


@pytest.fixture
def x():
    return torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(1))


def test_the_chain_is_the_nets_own_forward(backbone, x):
    backbone.eval()
    torch.testing.assert_close(backbone(x), backbone.net(x), rtol=0, atol=0)


def test_stop_and_start_together_make_the_whole(backbone, x):
    backbone.eval()
    for stage in backbone.stages:
        torch.testing.assert_close(backbone(backbone(x, stop=stage), start=stage), backbone.net(x), rtol=0, atol=0)


def test_a_slice_runs_only_the_stages_between_start_and_stop(backbone, x):
    backbone.eval()
    hidden = backbone.net.first(x.flatten(1))
    torch.testing.assert_close(backbone(x, stop="second"), hidden, rtol=0, atol=0)
    torch.testing.assert_close(
        backbone(hidden, start="second", stop="shift"), backbone.net.second(hidden), rtol=0, atol=0
    )


def test_stopping_before_the_first_stage_gives_the_input(backbone, x):
    assert backbone(x, stop="first") is x


def test_gradients_through_the_chain_are_the_nets(backbone, x):
    backbone.eval()
    expected = torch.autograd.grad(backbone.net(x).square().sum(), [*backbone.net.parameters()], allow_unused=True)
    given = torch.autograd.grad(backbone(x).square().sum(), [*backbone.net.parameters()], allow_unused=True)
    for (name, _), ours, theirs in zip(backbone.net.named_parameters(), given, expected, strict=True):
        assert (ours is None) == (theirs is None) == name.startswith("classifier"), name
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("asked", [(), ("first",), ("shift", "first"), ("first", "second", "shift")])
def test_observe_keeps_only_what_is_asked(backbone, x, asked):
    backbone.eval()
    features, kept = backbone.observe(x, asked)
    assert set(kept) == set(asked)
    torch.testing.assert_close(features, backbone.net(x), rtol=0, atol=0)


def test_observed_activations_are_what_each_stage_gave(backbone, x):
    backbone.eval()
    _, kept = backbone.observe(x, backbone.stages)
    hidden = backbone.net.first(x.flatten(1))
    torch.testing.assert_close(kept["first"], hidden, rtol=0, atol=0)
    torch.testing.assert_close(kept["second"], backbone.net.second(hidden), rtol=0, atol=0)
    torch.testing.assert_close(kept["shift"], backbone.net(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda backbone, x: backbone(x, start="secnd"),
        lambda backbone, x: backbone(x, stop="secnd"),
        lambda backbone, x: backbone.observe(x, ["secnd"]),
        lambda backbone, x: backbone.set_trainable(["secnd"]),
    ],
    ids=["start", "stop", "observe", "set_trainable"],
)
def test_an_unknown_stage_raises_with_the_nearest_name(backbone, x, call):
    with pytest.raises(InputError, match=r"'secnd'.*did you mean 'second'.*first, second, shift"):
        call(backbone, x)


def test_state_dict_keys_are_the_nets_under_one_prefix(backbone):
    assert set(backbone.state_dict()) == {f"net.{key}" for key in Net().state_dict()}


def test_every_parameter_is_of_one_stage_and_the_classifier_of_none(backbone):
    owned = [id(p) for stage in backbone.stages for p in backbone.stage_parameters(stage)]
    expected = [id(p) for name, p in backbone.net.named_parameters() if not name.startswith("classifier")]
    assert len(owned) == len(set(owned))
    assert set(owned) == set(expected)


def test_parametric_leaves_out_stages_without_parameters():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    backbone = Backbone(net, [Stage("a", ["0"]), Stage("act", ["1"]), Stage("b", ["2"])], 2, "net")
    assert backbone.stages == ("a", "act", "b")
    assert backbone.parametric == ("a", "b")


@pytest.mark.parametrize(
    ("left_out", "orphan"),
    [("first", "first.0.weight"), ("offset", "offset"), ("scale", "scale")],
    ids=["module", "parameter", "buffer"],
)
def test_an_orphan_raises_and_is_listed(left_out, orphan):
    stages = [
        Stage(
            stage.name,
            [step for step in stage.steps if step != left_out],
            [path for path in stage.owns if path != left_out],
        )
        for stage in STAGES
    ]
    with pytest.raises(ValueError, match=rf"belong to no stage: .*{orphan}"):
        Backbone(Net(), stages, 5, "net", ignored=["classifier"])


def test_an_orphan_leaf_module_without_parameters_raises_and_is_listed():
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"belong to no stage: 1$"):
        Backbone(net, [Stage("a", ["0"]), Stage("b", ["2"])], 2, "net")


def test_all_orphans_are_listed():
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"no stage: 2\.weight, 2\.bias, 1, 2$"):
        Backbone(net, [Stage("a", ["0"])], 2, "net")


def test_a_classifier_that_is_not_ignored_is_an_orphan():
    with pytest.raises(ValueError, match="classifier"):
        Backbone(Net(), STAGES, 5, "net")


def test_a_prefix_that_matches_nothing_raises_and_is_listed():
    net = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(ValueError, match="name nothing in the net: layer9"):
        Backbone(net, [Stage("a", ["0", "layer9"])], 4, "net")


def test_a_prefix_matches_whole_path_segments_only():
    # "1" must not own "10"
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(11)))
    names = [str(number) for number in range(10)]
    with pytest.raises(ValueError, match=r"no stage: 10\.weight, 10\.bias, 10$"):
        Backbone(net, [Stage("all", names)], 2, "net")


def nested():
    """A stage that owns all of the net but what another stage names inside it."""
    inner = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    last = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    net = nn.Sequential()
    net.add_module("body", nn.Sequential(inner, last))
    stages = [Stage("outer", ["body.0"], owns=["body"]), Stage("inner", ["body.1"])]
    return Backbone(net, stages, 4, "nested")


def test_the_longest_prefix_owns_a_parameter():
    backbone = nested()
    ours = {id(p) for p in backbone.net.body[1].parameters()}
    assert {id(p) for p in backbone.stage_parameters("inner")} == ours


def test_freezing_a_stage_leaves_a_stage_named_inside_it_in_training_mode():
    backbone = nested().train()
    backbone.set_trainable(["inner"])
    assert [m.training for m in backbone.net.body[0].modules()] == [False] * 4
    assert [m.training for m in backbone.net.body[1].modules()] == [True] * 4


def test_frozen_stages_get_no_gradient_and_the_others_do(backbone, x):
    backbone.set_trainable(["second"])
    backbone(x).square().sum().backward()
    for name, parameter in backbone.net.named_parameters():
        trains = name.startswith("second")
        assert parameter.requires_grad == trains, name
        assert (parameter.grad is not None) == trains, name


def test_batchnorm_statistics_move_in_trainable_stages_alone(backbone, x):
    backbone.train()
    backbone.set_trainable(["second"])
    before = {key: value.clone() for key, value in backbone.net.state_dict().items()}
    backbone(x)
    for key, value in backbone.net.state_dict().items():
        statistic = key.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")
        assert torch.equal(value, before[key]) != (statistic and key.startswith("second")), key


def test_frozen_batchnorm_normalises_by_its_statistics_and_not_by_the_batch(backbone, x):
    backbone.train()
    backbone.set_trainable(["second"])
    linear, norm = backbone.net.first[0], backbone.net.first[1]
    hidden = linear(x.flatten(1))
    expected = ((hidden - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias).relu()
    torch.testing.assert_close(backbone(x, stop="second"), expected)


def test_dropout_of_frozen_stages_is_still(backbone, x):
    backbone.train()
    backbone.set_trainable(["second"])
    hidden = backbone(x, stop="second")
    torch.testing.assert_close(hidden, backbone(x, stop="second"), rtol=0, atol=0)
    # the trainable stage's dropout is alive
    assert not torch.equal(backbone(hidden, start="second"), backbone(hidden, start="second"))


def test_train_keeps_frozen_stages_in_evaluation_mode(backbone):
    backbone.set_trainable(["second"])
    backbone.eval()
    assert not any(m.training for m in backbone.modules())
    backbone.train()
    assert not any(m.training for m in backbone.net.first.modules())
    assert all(m.training for m in backbone.net.second.modules())


def test_train_called_on_a_parent_keeps_frozen_stages_in_evaluation_mode(backbone):
    backbone.set_trainable([])
    parent = nn.Sequential(backbone, nn.Linear(5, 2)).train()
    assert parent[1].training
    assert not any(m.training for name in ("first", "second") for m in backbone.net.get_submodule(name).modules())


def test_unfreezing_brings_gradients_and_training_mode_back(backbone):
    backbone.train()
    backbone.set_trainable([])
    assert not any(p.requires_grad for p in backbone.parameters())
    backbone.set_trainable(backbone.stages)
    owned = [p for stage in backbone.stages for p in backbone.stage_parameters(stage)]
    assert all(p.requires_grad for p in owned)
    assert all(m.training for name in ("first", "second") for m in backbone.net.get_submodule(name).modules())


@pytest.mark.parametrize("named", [True, False])
def test_a_stage_without_parameters_trains_only_if_it_is_named(named):
    net = nn.Sequential(nn.Linear(3, 40), nn.Dropout(0.5), nn.Linear(40, 2))
    backbone = Backbone(net, [Stage("a", ["0"]), Stage("drop", ["1"]), Stage("b", ["2"])], 2, "net").train()
    backbone.set_trainable(backbone.stages if named else backbone.parametric)
    x = torch.randn(4, 3)
    torch.manual_seed(0)
    expected = net[2](nn.functional.dropout(net[0](x), 0.5, training=named))
    torch.manual_seed(0)
    torch.testing.assert_close(backbone(x), expected)


def test_set_trainable_is_idempotent(backbone):
    backbone.train()
    states = []
    for _ in range(2):
        backbone.set_trainable(["first"])
        modes = [(name, m.training) for name, m in backbone.named_modules()]
        states.append((modes, [(name, p.requires_grad) for name, p in backbone.named_parameters()]))
    assert states[0] == states[1]


def test_set_trainable_in_evaluation_mode_starts_no_training_mode(backbone):
    backbone.eval()
    backbone.set_trainable(backbone.stages, "trains")
    assert not any(m.training for m in backbone.modules())


def test_frozen_batchnorm_that_trains_moves_and_nothing_else_of_a_frozen_stage_does(backbone, x):
    backbone.train()
    backbone.set_trainable(["second"], frozen_batchnorm="trains")
    before = backbone.net.first[1].running_mean.clone()
    backbone(x).square().sum().backward()
    assert not torch.equal(backbone.net.first[1].running_mean, before)
    trains = {name for name, p in backbone.net.first.named_parameters() if p.requires_grad}
    assert trains == {"1.weight", "1.bias"}
    assert all(p.grad is not None for p in backbone.net.first[1].parameters())
    assert [m.training for m in backbone.net.first] == [False, True, False, False]


def test_check_chain_accepts_the_nets_own_order(backbone, x):
    check_chain(backbone, backbone.net, x)


@pytest.mark.parametrize("mode", [True, False])
def test_check_chain_restores_the_mode(backbone, x, mode):
    backbone.train(mode)
    check_chain(backbone, backbone.net, x)
    assert backbone.training == backbone.net.first[3].training == mode


def test_check_chain_changes_no_tensor(backbone, x):
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    check_chain(backbone, backbone.net, x)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_check_chain_catches_steps_left_out(x):
    forgets = [*STAGES[:2], Stage("shift", [], owns=["offset", "scale"])]
    broken = Backbone(Net(), forgets, 5, "broken", ignored=["classifier"])
    with pytest.raises(RuntimeError, match="broken: the chain"):
        check_chain(broken, broken.net, x)


def test_check_chain_catches_stages_out_of_order():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    broken = Backbone(net, [Stage("b", ["1"]), Stage("a", ["0"])], 4, "broken")
    with pytest.raises(RuntimeError, match="broken: the chain"):
        check_chain(broken, net, torch.randn(2, 4))


def test_check_chain_catches_an_activation_before_its_batchnorm():
    # at its first values a BatchNorm is the identity, so that only a calibrated net shows the wrong order
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    broken = Backbone(net, [Stage("a", ["0", "2", "1"]), Stage("b", ["3"])], 3, "broken")
    with pytest.raises(RuntimeError, match="broken: the chain"):
        check_chain(broken, net, torch.randn(2, 4))


def test_check_chain_catches_a_stage_that_remembers_the_last_full_pass():
    # the chain is right from the input, but entering at `b` with a stored activation ignores it
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 3)
            self.seen = []

        def forward(self, x):
            return self.two(self.one(x))

    def remember(net, x):
        net.seen.append(x)
        return net.one(x)

    def recall(net, x):
        return net.two(net.one(net.seen.pop())) if net.seen else net.two(x + 1)

    net = Remembers()
    stages = [Stage("a", [remember], owns=["one"]), Stage("b", [recall], owns=["two"])]
    broken = Backbone(net, stages, 3, "broken")
    with pytest.raises(RuntimeError, match="broken: the chain of stages, entered at b"):
        check_chain(broken, net, torch.randn(2, 4))


def test_check_chain_catches_a_stage_that_ignores_what_it_is_handed():
    # chain and entry agree with the library, for the library's own net makes nothing of its input
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    nn.init.zeros_(net[1].weight)
    broken = Backbone(net, [Stage("a", ["0"]), Stage("b", ["1"])], 3, "broken")
    with pytest.raises(RuntimeError, match="broken: what stage 'b' is handed has no influence on the features"):
        check_chain(broken, net, torch.randn(2, 4))


def mean_step(net, x):
    return masked_mean(x)


def embedded(net, x):
    return Seq(net.table(x.h), x.mask)


def mean_of_all_steps(net, x):
    return x.h.mean(1)


class Reader(nn.Module):
    """Token ids to the mean of their hidden states."""

    def __init__(self):
        super().__init__()
        self.table, self.layer = nn.Embedding(9, 4), nn.Linear(4, 4)

    def forward(self, x):
        return masked_mean(Seq(self.layer(self.table(x.h)), x.mask))


def reader(pool=mean_step, hidden=("layer",)):
    torch.manual_seed(0)
    stages = [
        Stage("embeddings", [embedded], owns=["table"]),
        Stage("layer", hidden, owns=[] if hidden == ("layer",) else ["layer"]),
        Stage("pool", [pool]),
    ]
    return Backbone(Reader(), stages, 4, "reader", tail="pool")


WORDS = Seq(torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([[True, True, True], [True, True, False]]))


def of_ones(net, x):
    return Seq(net.layer(torch.ones_like(x.h)), x.mask)


def test_a_module_works_on_the_steps_of_a_sequence_and_hands_the_mask_on():
    backbone = reader().eval()
    found = backbone(WORDS, stop="pool")
    assert torch.equal(found.h, backbone.net.layer(backbone.net.table(WORDS.h)))
    assert found.mask is WORDS.mask


def test_check_chain_works_on_sequences():
    backbone = reader()
    check_chain(backbone, backbone.net, WORDS)
    forgets = reader(pool=mean_of_all_steps)
    with pytest.raises(RuntimeError, match="reader: the chain"):
        check_chain(forgets, forgets.net, WORDS)
    deaf = reader(hidden=(of_ones,))
    with pytest.raises(RuntimeError, match="what stage 'layer' is handed has no influence"):
        check_chain(deaf, deaf, WORDS)


class Towers(nn.Module):
    """Two inputs, each through a net of its own."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(3, 4), Reader()

    def forward(self, x):
        return Pair(self.one(x.first), self.other(x.second))


def side_by_side(net, x):
    return Pair(net.one(x.first), embedded(net.other, x.second))


def crossed(net, x):
    return Pair(x.first, masked_mean(Seq(net.other.layer(x.second.h), x.second.mask)))


def first_twice(net, x):
    return Pair(x.first, x.first)


def towers(last):
    torch.manual_seed(0)
    stages = [
        Stage("embeddings", [side_by_side], owns=["one", "other.table"]),
        Stage("last", [last], owns=["other.layer"]),
    ]
    return Backbone(Towers(), stages, 4, "towers")


def test_check_chain_works_on_pairs():
    example = Pair(torch.randn(2, 3), WORDS)
    right, wrong = towers(crossed), towers(first_twice)
    check_chain(right, right.net, example)
    with pytest.raises(RuntimeError, match="towers: the chain"):
        check_chain(wrong, wrong.net, example)


class Pooled(nn.Module):
    """As a library publishes it: maps, pooled by a weight, a buffer and a BatchNorm; two linear layers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.norm = nn.BatchNorm1d(4)
        self.weight = nn.Parameter(torch.randn(8, 8))
        self.register_buffer("shift", torch.ones(4))
        self.classifier = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))

    def forward(self, x):
        return self.classifier(self.norm(weighted(self, self.stem(x))))


def weighted(net, x):
    return (x * net.weight).sum((2, 3)) + net.shift


def published():
    """All of its tensors, unlike any fresh net's."""
    torch.manual_seed(7)
    return {key: value + 7 for key, value in Pooled().state_dict().items()}


def pooled():
    torch.manual_seed(0)
    net = Pooled()
    net.classifier[1] = nn.Identity()
    stages = [
        Stage("stem", ["stem"]),
        Stage("pool", [weighted, "norm"], owns=["weight", "shift"]),
        Stage("fc", ["classifier.0"]),
    ]
    return Backbone(net, stages, 5, "pooled", ignored=["classifier.1"], tail="pool")


def test_a_cut_chain_gives_what_went_into_the_tail():
    backbone, x = pooled().eval(), torch.randn(2, 3, 8, 8)
    expected = backbone(x, stop="pool")
    backbone.cut()
    assert torch.equal(backbone(x), expected)
    assert torch.equal(backbone.maps(expected), backbone.net.stem(x))


def test_what_is_cut_off_leaves_the_net_the_stages_and_every_count():
    backbone = pooled()
    backbone.cut()
    assert backbone.stages == backbone.parametric == ("stem",)
    kept = {"stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias"}
    assert {name for name, _ in backbone.net.named_parameters()} == kept
    assert {id(p) for p in backbone.stage_parameters("stem")} == {id(p) for p in backbone.net.parameters()}
    assert all(key.startswith("stem.") for key in backbone.net.state_dict())
    for stage in ("pool", "fc"):
        with pytest.raises(InputError, match=f"'{stage}'"):
            backbone.set_trainable([stage])


def test_a_cut_net_freezes_trains_and_pickles():
    backbone = pooled()
    backbone.cut()
    backbone.train()
    backbone.set_trainable([])
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not any(m.training for m in backbone.net.stem.modules())
    backbone.set_trainable(["stem"])
    backbone(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None for p in backbone.stage_parameters("stem"))
    again = pickle.loads(pickle.dumps(backbone)).eval()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(again(x), backbone.eval()(x))


def test_weights_of_the_whole_net_load_into_the_cut_one(tmp_path):
    # the library's own, and those of a run of ours with its head
    ours = {f"backbone.net.{key}": value for key, value in published().items() if not key.startswith("classifier.1")}
    for name, state in (("published.pt", published()), ("selected.pt", ours | {"head.weight": torch.ones(2)})):
        torch.save(state, tmp_path / name)
        backbone = pooled()
        backbone.cut()
        weights.load(backbone, str(tmp_path / name))
        assert all(torch.equal(value, published()[key]) for key, value in backbone.net.state_dict().items())


def test_weights_of_a_cut_net_load_into_another_and_are_too_few_for_the_whole_one(tmp_path):
    stem = {key: value for key, value in published().items() if key.startswith("stem")}
    torch.save(stem, tmp_path / "cut.pt")
    backbone = pooled()
    backbone.cut()
    weights.load(backbone, str(tmp_path / "cut.pt"))
    assert torch.equal(backbone.net.stem[0].weight, stem["stem.0.weight"])
    with pytest.raises(InputError, match="it lacks"):
        weights.load(pooled(), str(tmp_path / "cut.pt"))


@pytest.mark.parametrize(
    ("stem", "tail"), [((), ()), (("body",), ()), ((), ("body",))], ids=["side by side", "tail inside", "stem inside"]
)
def test_a_tail_that_shares_a_module_with_another_stage_is_cut_off_alone(stem, tail):
    net = nn.Sequential()
    net.add_module("body", nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 5)))
    stages = [Stage("stem", ["body.0"], owns=stem), Stage("pool", ["body.1", flatten, "body.2"], owns=tail)]
    backbone = Backbone(net, stages, 5, "net", tail="pool")
    backbone.cut()
    assert backbone(torch.randn(2, 3, 8, 8)).shape == (2, 4, 6, 6)
    assert {name for name, _ in net.named_parameters()} == {"body.0.weight", "body.0.bias"}
    assert len(backbone.stage_parameters("stem")) == 2


def test_without_a_tail_there_is_nothing_to_cut_and_so_a_second_cut_is_refused():
    backbone = pooled()
    backbone.cut()
    for other in (backbone, mlp(ArrayInput.of(3), [4])):
        with pytest.raises(InputError, match=f"'{other.name}'.*the task needs maps or sequences"):
            other.cut()
    assert backbone.stages == ("stem",)


def test_a_small_net_cut_gives_its_last_maps():
    backbone = convnet(ArrayInput.of(1, 16, 12), [3, 5])
    backbone.cut()
    assert backbone.maps(backbone(torch.randn(2, 1, 16, 12))).shape == (2, 5, 4, 3)


def as_grid(net, x):
    return x.transpose(1, 2).unflatten(2, net.size)


def test_the_grid_makes_maps_of_tokens():
    net = nn.Sequential(nn.Linear(3, 4))
    net.size = (2, 3)
    backbone = Backbone(net, [Stage("tokens", ["0"])], 4, "net", grid=as_grid)
    tokens = backbone(torch.randn(5, 6, 3))
    found = backbone.maps(tokens)
    assert found.shape == (5, 4, 2, 3)
    assert torch.equal(found[:, :, 1, 2], tokens[:, 5])


@pytest.mark.parametrize("given", [torch.zeros(2, 4), torch.zeros(2, 6, 4), WORDS], ids=["vectors", "tokens", "seq"])
def test_what_is_no_map_is_refused_with_the_remedy(given):
    with pytest.raises(InputError, match=r"'pooled' gives no maps.*choose one for images"):
        pooled().maps(given)
