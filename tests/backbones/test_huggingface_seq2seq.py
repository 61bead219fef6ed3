import copy
import pickle

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForSeq2SeqLM

from transferlab.backbones import weights
from transferlab.backbones.huggingface import seq2seq, text
from transferlab.backbones.small import mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.text import TextInput
from transferlab.values import Seq

INPUT = TextInput("words", 30, 12)
RELATIVE = {"d_model": 16, "d_kv": 4, "num_heads": 4, "d_ff": 24, "num_layers": 3, "num_decoder_layers": 2}
ABSOLUTE = {
    **{"d_model": 16, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4},
    **{"decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24},
}
SMALL = {"t5": RELATIVE, "mt5": RELATIVE, "bart": ABSOLUTE, "marian": ABSOLUTE}


def build(kind, origin=None, pooling="mean", attention="sdpa", input=INPUT, **architecture):
    torch.manual_seed(0)
    given = {} if origin is not None else {**SMALL[kind], **architecture}
    backbone = seq2seq.encoder(input, kind, origin, given, pooling, attention)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # fresh nets hardly look at places
    return backbone.eval()


def batch(lengths):
    ids = torch.randint(1, 30, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Seq(ids.masked_fill(~mask, 0), mask)


def library(backbone, value):
    return backbone.net.encoder(input_ids=value.h, attention_mask=value.mask.long()).last_hidden_state


@pytest.fixture(scope="module", params=SMALL)
def backbone(request):
    return build(request.param)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_chain_is_the_librarys_forward(kind, attention):
    backbone, value = build(kind, attention=attention), batch([4, 12, 7])
    states = backbone(value, stop="pool")
    torch.testing.assert_close(states.h, library(backbone, value), rtol=0, atol=1e-5)


def test_entered_at_every_boundary_it_gives_the_same_features(backbone):
    value = batch([4, 12, 7])
    features, kept = backbone.observe(value, backbone.stages)
    for before, after in zip(backbone.stages, backbone.stages[1:], strict=False):
        torch.testing.assert_close(backbone(kept[before], start=after), features, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_the_chain_trains_as_the_library_does_under_one_seed(kind):
    dropped = {"encoder_layerdrop": 0.4} if kind in ("bart", "marian") else {}
    backbone, value = build(kind, **dropped), batch([4, 12, 7])
    other = copy.deepcopy(backbone)
    found = []
    for net, forward in (
        (backbone, lambda value: backbone(value, stop="pool").h),
        (other, lambda v: library(other, v)),
    ):
        net.train()
        torch.manual_seed(5)
        states = forward(value)
        states.square().sum().backward()
        found.append((states.detach(), {name: p.grad for name, p in net.named_parameters()}))
    (states, gradients), (expected, wanted) = found
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-4, msg=name)


def test_padding_changes_no_features(backbone):
    lengths = [4, 12, 7]
    value = batch(lengths)
    together = backbone(value)
    for number, length in enumerate(lengths):
        alone = Seq(value.h[number : number + 1, :length], value.mask[number : number + 1, :length])
        torch.testing.assert_close(backbone(alone)[0], together[number], rtol=0, atol=1e-5)


def test_stages_are_named_from_input_to_output(backbone):
    assert backbone.stages == ("embeddings", "block0", "block1", "block2", "pool")
    assert backbone.parametric == ("embeddings", "block0", "block1", "block2")
    assert backbone.features == 16
    assert not [name for name, _ in backbone.named_parameters() if "decoder" in name]


def test_the_table_of_relative_positions_serves_all_blocks_and_trains_with_the_first():
    backbone = build("t5")
    table = backbone.net.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    assert any(table is parameter for parameter in backbone.stage_parameters("block0"))
    states = backbone(batch([12]), stop="block2")
    expected = backbone(states, start="block2")
    with torch.no_grad():
        table.add_(torch.randn_like(table))
    assert (backbone(states, start="block2") - expected).abs().max() > 1e-3


@pytest.mark.parametrize("kind", SMALL)
def test_frozen_blocks_have_no_dropout_though_the_last_block_trains(kind):
    backbone, value = build(kind), batch([4, 12])
    backbone.set_trainable(["block2"])
    backbone.train()
    first, second = (backbone(value, stop="block2").h for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(backbone(value), backbone(value))
    backbone.set_trainable(["embeddings", "block0", "block1"])
    backbone.train()
    states = backbone(value, stop="block2")
    assert torch.equal(backbone(states, start="block2"), backbone(states, start="block2"))


def test_the_sines_of_marian_train_in_no_stage():
    backbone = build("marian")
    assert not [name for name, _ in backbone.named_parameters() if "embed_positions" in name]
    assert not [name for name, _ in seq2seq.decoder(backbone).named_parameters() if "embed_positions" in name]


def test_it_can_be_sent_to_another_process(backbone):
    value = batch([4, 12])
    assert torch.equal(pickle.loads(pickle.dumps(backbone))(value), backbone(value))


def published(kind, folder):
    """A whole net for writing, as transformers saves it."""
    torch.manual_seed(3)
    config = copy.deepcopy(build(kind).net.config)
    model = AutoModelForSeq2SeqLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if kind != "marian" or "embed_positions" not in name:  # its sines are fixed, and not saved
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("place", ["hub:{}", "{}/model.safetensors"])
def test_published_weights_fill_the_encoder_and_the_decoder(kind, place, tmp_path):
    model = published(kind, tmp_path)
    backbone = build(kind, str(tmp_path))
    assert backbone.origin is None
    weights.load(backbone, place.format(tmp_path))
    assert backbone.origin == place.format(tmp_path)
    value = batch([4, 12, 7])
    expected = model.get_encoder()(input_ids=value.h, attention_mask=value.mask.long()).last_hidden_state
    torch.testing.assert_close(backbone(value, stop="pool").h, expected, rtol=0, atol=1e-5)
    writer = seq2seq.decoder(backbone)
    seq2seq.fill(writer, backbone.origin)
    body = model.state_dict()
    for name, tensor in writer.state_dict().items():
        assert torch.equal(tensor, body[name]), name


def test_weights_of_our_own_run_fill_the_decoder_too(tmp_path):
    backbone = build("t5")
    writer, file = seq2seq.decoder(backbone), str(tmp_path / "selected.pt")
    state = {f"head.net.{name}": tensor + 1 for name, tensor in writer.state_dict().items()}
    torch.save({**{f"backbone.{name}": t for name, t in backbone.state_dict().items()}, **state}, file)
    weights.load(backbone, file)
    seq2seq.fill(writer, file)
    assert all(torch.equal(tensor, state[f"head.net.{name}"]) for name, tensor in writer.state_dict().items())


def test_an_origin_without_the_decoder_is_refused_with_the_remedy(tmp_path):
    backbone = build("t5")
    torch.save({f"backbone.{name}": t for name, t in backbone.state_dict().items()}, tmp_path / "run.pt")
    with pytest.raises(InputError, match=r"run that trained no such decoder; task\.decoder=new"):
        seq2seq.fill(seq2seq.decoder(backbone), str(tmp_path / "run.pt"))
    body = {name: t.clone() for name, t in backbone.net.state_dict().items() if name != "shared.weight"}
    save_file(body, tmp_path / "encoder.safetensors")
    with pytest.raises(InputError, match=r"lacks \d+ of \d+ tensors, e\.g\. decoder.*; task\.decoder=new"):
        seq2seq.fill(seq2seq.decoder(backbone), str(tmp_path / "encoder.safetensors"))


def test_a_backbone_that_only_reads_has_no_decoder():
    small = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    for other in (text.encoder(INPUT, "bert", None, small, "mean", "sdpa"), mlp(ArrayInput.of(3), [4])):
        with pytest.raises(InputError, match=r"is no encoder-decoder, .* choose backbone=t5"):
            seq2seq.decoder(other)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "bert"}, r"no encoder-decoder of type 'bert'"),
        ({"input": ArrayInput.of(3, 8, 8)}, r"backbone\.input is for images, 'bart' takes texts"),
        ({"architecture": {"vocab_size": 30}}, r"has ids up to 30, the net's table of embeddings has 30 rows"),
        ({"architecture": {"encoder_layers": 0}}, r"0 layers of the encoder; at least 1"),
        ({"input": TextInput("words", 30, 1025)}, r"max_length=1025: this net knows 1024 places"),
    ],
)
def test_settings_that_do_not_fit_end_with_a_sentence(change, sentence):
    given = {"input": INPUT, "kind": "bart", "origin": None, "pooling": "mean", "attention": "sdpa"} | change
    given["architecture"] = {**ABSOLUTE, **given.get("architecture", {})}
    with pytest.raises(InputError, match=sentence):
        seq2seq.encoder(**given)
