"""Prompts: the blocks with them against the library's own blocks, and that nobody else sees them."""

import copy

import pytest
import torch
from adapted import adapted, of_images, of_vectors, watched
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferlab import cli
from transferlab.adapters.prompts import Prompts
from transferlab.backbones.base import Backbone
from transferlab.backbones.huggingface.seq2seq import encoder as t5_encoder
from transferlab.backbones.huggingface.text import decoder, encoder
from transferlab.backbones.huggingface.vision import tower
from transferlab.backbones.recurrent import recurrent
from transferlab.backbones.small import convnet
from transferlab.backbones.stages import Stage
from transferlab.backbones.timm import named
from transferlab.backbones.torchvision.transformers import swin
from transferlab.backbones.two_tower import two_tower
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.pair import PairInput
from transferlab.inputs.text import TextInput
from transferlab.tasks.maps import map_shapes
from transferlab.values import Seq

IMAGES, TEXTS = ArrayInput.of(3, 16, 16), TextInput("words", 50, 8)
PAIRS = PairInput(IMAGES, TEXTS)
SMALL = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}


def prompts(count=3, deep=True, dropout=0.0, stages=None):
    return Prompts(count, deep, dropout, stages, "alone")


def vit(layers=2):
    torch.manual_seed(0)
    architecture = {**SMALL, "num_hidden_layers": layers, "patch_size": 8}
    return tower(IMAGES, "vit", None, architecture, "cls", "sdpa").eval()


def bert():
    torch.manual_seed(0)
    return encoder(TEXTS, "bert", None, {**SMALL, "num_hidden_layers": 2}, "mean", "sdpa").eval()


def gpt2():
    torch.manual_seed(0)
    return decoder(TEXTS, "gpt2", None, {"n_layer": 2, "n_embd": 16, "n_head": 2}, "last", "sdpa").eval()


def t5():
    torch.manual_seed(0)
    architecture = {"num_layers": 2, "d_model": 16, "d_kv": 4, "num_heads": 4, "d_ff": 24}
    return t5_encoder(TEXTS, "t5", None, architecture, "mean", "sdpa").eval()


def texts():
    """Two texts, the second shorter than the first."""
    ids = torch.randint(5, 50, (2, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 4:] = False
    return Seq(ids.masked_fill(~mask, TEXTS.padding), mask)


FAMILIES = {
    "vit": (vit, IMAGES.example(2)),
    "bert": (bert, texts()),
    "gpt2": (gpt2, texts()),
    "t5": (t5, texts()),
}


def made(family):
    build, x = FAMILIES[family]
    return build(), x


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.booleans(), st.booleans())
def test_blocks_with_prompts_are_those_of_the_paper(count, layers, deep, first_alone):
    """`[x_i, P_i, E_i] = L_i([x_{i-1}, P_{i-1}, E_{i-1}])`, between class token and patches as the paper has them."""
    stages = ["block0"] if deep and first_alone else None
    net, x = vit(layers).double(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    plain = copy.deepcopy(net.net)
    prompts(count, deep, stages=stages).insert(net, x)
    net.double()
    own = {name: part.tokens for name, part in net.net.prompts.items()}
    assert list(own) == [f"block{n}" for n in range(layers if deep and not stages else 1)]
    h = plain.embeddings(x)
    state = None
    for n, layer in enumerate(plain.layers):
        fresh = own.get(f"block{n}")
        state = fresh.expand(2, -1, -1) if fresh is not None else None if deep else state
        if state is None:
            h = layer(h, None)
        else:
            out = layer(torch.cat([h[:, :1], state, h[:, 1:]], 1), None)
            h, state = torch.cat([out[:, :1], out[:, 1 + count :]], 1), out[:, 1 : 1 + count]
    torch.testing.assert_close(net.eval()(x), plain.layernorm(h)[:, 0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("deep", [True, False])
def test_the_tokens_of_a_text_are_those_behind_its_prompts(deep):
    plain, net, _ = adapted(prompts(deep=deep), made("bert"))
    x = Seq(texts().h[:1], texts().mask[:1])
    own = [part.tokens[None] for part in net.net.prompts.values()]
    h = torch.cat([own[0], plain.net.embeddings(input_ids=x.h)], 1)
    for n, layer in enumerate(plain.net.encoder.layer):
        h = layer(torch.cat([own[n], h[:, 3:]], 1) if deep else h)
    torch.testing.assert_close(net(x), h[:, 3:].mean(1))
    torch.testing.assert_close(net(x, stop="pool").h, h[:, 3:])


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_a_text_is_read_with_prompts_whatever_padding_stands_behind_it(family, deep):
    plain, net, x = adapted(prompts(deep=deep), made(family))
    alone = Seq(x.h[1:, :4], x.mask[1:, :4])
    torch.testing.assert_close(net(x)[1:], net(alone), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(net(alone), plain(alone), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_stage_shows_its_prompts(family, deep):
    plain, net, x = adapted(prompts(deep=deep), made(family))
    before, after = plain.observe(x, plain.stages)[1], net.observe(x, net.stages)[1]
    for stage in plain.stages:
        assert type(after[stage]) is type(before[stage])
        h, own = (value.h if isinstance(value, Seq) else value for value in (after[stage], before[stage]))
        assert h.shape == own.shape
        if isinstance(own, Seq):
            assert torch.equal(after[stage].mask, before[stage].mask)


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_chain_is_gone_on_with_where_it_was_halted(family, deep):
    _, net, x = adapted(prompts(deep=deep), made(family))
    whole = net(x)
    for stage in net.stages[1:]:
        torch.testing.assert_close(net(net(x, stop=stage), start=stage), whole, rtol=0, atol=0)


def test_a_chain_with_shallow_prompts_is_not_entered_without_them():
    _, net, x = adapted(prompts(deep=False), made("vit"))
    kept = net.observe(x, ["embeddings", "block0"])[1]
    torch.testing.assert_close(net(kept["embeddings"], start="block0"), net(x), rtol=0, atol=0)
    with pytest.raises(InputError, match=r"cannot be entered behind its first block.*deep=true"):
        net(kept["block0"], start="block1")


@pytest.mark.parametrize("deep", [True, False])
def test_maps_for_dense_tasks_hold_patches_alone(deep):
    plain = vit()
    plain.cut()
    x = torch.randn(2, 3, 16, 16)
    net = copy.deepcopy(plain)
    prompts(2, deep).insert(net, x)
    net.eval()
    assert map_shapes(net, x) == map_shapes(plain, x) == dict.fromkeys(plain.stages, (16, 2, 2))
    own = [part.tokens.expand(2, -1, -1) for part in net.net.prompts.values()]
    h = torch.cat([own[0], plain.net.embeddings(x)], 1)
    for n, layer in enumerate(plain.net.layers):
        h = layer(torch.cat([own[n], h[:, 2:]], 1) if deep else h, None)
    expected = plain.net.layernorm(h)[:, 3:].mT.reshape(2, 16, 2, 2)
    torch.testing.assert_close(net.maps(net(x)), expected)


@pytest.mark.parametrize("deep", [True, False])
def test_gradients_reach_every_prompt_and_nothing_else(deep):
    _, net, x = adapted(prompts(deep=deep), made("vit"))
    net.set_trainable(net.parametric)
    net.train()(x).square().sum().backward()
    trained = {name: p.grad for name, p in net.net.named_parameters() if p.grad is not None}
    assert trained.keys() == {f"prompts.block{n}.tokens" for n in range(2 if deep else 1)}
    assert all((grad != 0).any(1).all() for grad in trained.values())
    assert {name for name, m in net.net.named_modules() if m.training and not list(m.children())} == {
        f"prompts.block{n}.dropout" for n in range(2 if deep else 1)
    }


def test_prompts_of_a_frozen_block_are_frozen():
    _, net, _ = adapted(prompts(), made("vit"))
    net.set_trainable(["block1"])
    assert [name for name, p in net.net.named_parameters() if p.requires_grad] == ["prompts.block1.tokens"]


def test_dropout_leaves_out_prompts_of_each_sample_in_training_alone():
    _, net, x = adapted(prompts(50, dropout=0.5), made("vit"))
    net.set_trainable(net.parametric)
    part = net.net.prompts["block0"]
    drawn = net.train().net.prompts["block0"](2)
    assert 0.4 < (drawn == 0).float().mean() < 0.6 and not torch.equal(drawn[0], drawn[1])
    kept = drawn != 0
    torch.testing.assert_close(drawn[kept], (2 * part.tokens).expand(2, -1, -1)[kept])
    assert torch.equal(net.eval().net.prompts["block0"](2)[1], part.tokens)
    assert torch.equal(net(x), net(x))


def test_prompts_start_uniform_within_xaviers_bound():
    _, net, _ = adapted(prompts(500), made("vit"))
    tokens = net.net.prompts["block0"].tokens
    bound = (6 / (16 + 16)) ** 0.5
    assert tokens.abs().max() <= bound
    assert tokens.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


@pytest.mark.parametrize("deep", [True, False])
def test_each_of_two_towers_has_prompts_of_its_own(deep):
    plain = two_tower(PAIRS, vit(), bert())
    net, x = copy.deepcopy(plain), PAIRS.example(2)
    prompts(deep=deep).insert(net, x)
    names = [f"{side}_block{n}" for side in ("text", "image") for n in range(2 if deep else 1)]
    assert list(net.net.prompts) == names
    apart = []
    for side, value in (("image", x.first), ("text", x.second)):
        one = copy.deepcopy(plain.net.get_submodule(side))
        prompts(deep=deep).insert(one, value)
        for name, part in one.net.prompts.items():
            part.tokens = net.net.prompts[f"{side}_{name}"].tokens
        apart.append(one.eval()(value))
    torch.testing.assert_close(net.eval()(x), torch.cat(apart, 1))
    kept = net.observe(x, net.stages)[1]
    assert kept["text.block0"].second.h.shape == (*x.second.h.shape, 16)
    assert torch.equal(kept["text.block0"].second.mask, x.second.mask)


def test_of_two_towers_the_one_that_is_a_transformer_has_prompts():
    net, x = two_tower(PAIRS, convnet(IMAGES, [3, 4]), bert()), PAIRS.example(2)
    prompts(deep=False).insert(net, x)
    assert list(net.net.prompts) == ["text_block0"]


def test_a_vit_of_timm_has_prompts_too():
    plain, net, x = adapted(prompts(), (named(ArrayInput.of(3, 32, 32), "test_vit"), torch.randn(2, 3, 32, 32)))
    assert len(net.net.prompts) == sum(stage.startswith("block") for stage in net.stages)
    assert not torch.allclose(net(x), plain(x), rtol=1e-3)


def lstm():
    net = recurrent(TEXTS, "lstm", hidden=6, layers=1, bidirectional=False, dropout=0.0, pooling="last", embedding=5)
    return net, texts()


def windows():
    images = ArrayInput.of(3, 32, 32)
    return swin(images, "swin_t"), images.example(2)


@pytest.mark.parametrize("build", [of_images, of_vectors, lstm], ids=["convnet", "mlp", "lstm"])
def test_a_net_without_blocks_of_a_transformer_is_refused(build):
    with pytest.raises(InputError, match=r"no stage of backbone .* is a transformer's block.*strategy=adapter"):
        adapted(prompts(), build())


def test_attention_in_windows_is_refused():
    with pytest.raises(InputError, match=r"stage 'stage1' of backbone 'swin_t' attends within maps"):
        adapted(prompts(), windows())


class PlacedAttention(nn.Module):
    """Attention that knows five places."""

    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.randn(5, 5))

    def forward(self, x):
        return (x @ x.mT + self.places).softmax(-1) @ x


class PoolingAttention(nn.Module):
    """Attention that gives five tokens whatever comes in."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(5, 4))

    def forward(self, x):
        return (self.queries @ x.mT).softmax(-1) @ x


def _mean(net, x):
    return x.mean(1)


@pytest.mark.parametrize(
    ("attention", "reason"), [(PlacedAttention, "must match the size"), (PoolingAttention, "another number of tokens")]
)
def test_attention_that_has_room_for_its_own_tokens_alone_is_refused(attention, reason):
    net = nn.ModuleDict({"attention": attention()})
    backbone = Backbone(net, [Stage("block0", ["attention"]), Stage("pool", [_mean])], 4, "placed")
    with pytest.raises(InputError, match=rf"'placed' has room for its own tokens alone.*{reason}"):
        prompts().insert(backbone, torch.randn(2, 5, 4))


def test_shallow_prompts_need_blocks_in_a_row():
    net = nn.ModuleDict({f"attention{n}": nn.MultiheadAttention(4, 1) for n in range(2)} | {"between": nn.Linear(4, 4)})
    stages = [
        Stage("block0", [_attend_first], owns=["attention0"]),
        Stage("between", ["between"]),
        Stage("block1", [_attend_second], owns=["attention1"]),
        Stage("pool", [_mean]),
    ]
    backbone, x = Backbone(net, stages, 4, "apart"), torch.randn(2, 5, 4)
    with pytest.raises(InputError, match=r"deep=false: the blocks of backbone 'apart' do not follow one another"):
        prompts(deep=False).insert(copy.deepcopy(backbone), x)
    prompts().insert(backbone, x)
    assert list(backbone.net.prompts) == ["block0", "block1"]


def _attend_first(net, x):
    return net["attention0"](x, x, x)[0]


def _attend_second(net, x):
    return net["attention1"](x, x, x)[0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: prompts(0), "prompts=0: at least 1"),
        (lambda: prompts(dropout=1.0), r"dropout=1\.0: a share in \[0, 1\)"),
        (lambda: prompts(deep=False, stages=["block0"]), r"stages=\['block0'\].*deep=true"),
        (lambda: Prompts(3, True, 0.0, None, "merged"), "a plain net cannot compute what this adapter does: alone"),
        (lambda: adapted(prompts(stages=["embeddings"]), made("vit")), r"none of the blocks \(block0, block1\)"),
        (lambda: adapted(prompts(stages=["blok0"]), made("vit")), "stage"),
    ],
)
def test_what_makes_no_prompts_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.slow
@pytest.mark.parametrize("deep", ["true", "false"])
def test_a_run_trains_prompts_and_head_and_leaves_the_rest_bit_for_bit(tmp_path, monkeypatch, deep):
    modules, starts = watched(monkeypatch)
    command = [
        *("train", "strategy=vpt", f"strategy.adapter.deep={deep}", "strategy.adapter.prompts=3", "source=none"),
        *("backbone=vit", "backbone.input.shape=[3,8,8]", "target=digits", "target.labels=6", "batch_size=16"),
        "backbone.architecture={num_hidden_layers:2,hidden_size:16,num_attention_heads:2,intermediate_size:24,"
        "patch_size:4}",
        *("trainer.max_epochs=2", "trainer.accelerator=cpu", "tracker=none", "diagnostics=none", "optimizer.lr=0.05"),
        *("selection=last", "study=vpt", f"paths.runs={tmp_path}"),
    ]
    assert cli.main(command) == 0
    own = {f"backbone.net.prompts.block{n}.tokens" for n in range(2 if deep == "true" else 1)}
    end = modules[-1].state_dict()
    moved = {key for key, value in end.items() if not torch.equal(value, starts[0][key])}
    assert own < moved and {key for key in moved - own if "metrics" not in key} == {"head.weight", "head.bias"}
    (file,) = tmp_path.glob("vpt/*/selected.pt")
    assert torch.load(file, weights_only=True).keys() == own | {"head.weight", "head.bias"}
