import pickle

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModel, CLIPConfig, CLIPModel, ViTConfig, ViTForImageClassification

from transferlab.backbones.huggingface.vision import tower
from transferlab.backbones.weights import load
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.series import SeriesInput

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 8}
FORGETFUL = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}
TINY = {
    "vit": {**SIZES, **FORGETFUL, "intermediate_size": 48},
    "dinov2": {**SIZES, **FORGETFUL, "mlp_ratio": 2, "drop_path_rate": 0.3},
    "clip_vision_model": {**SIZES, "intermediate_size": 48, "attention_dropout": 0.2},
}
LAST_NORM = {"vit": "layernorm", "dinov2": "layernorm", "clip_vision_model": "post_layernorm"}
SQUARE = ArrayInput.of(3, 32, 32)


def build(kind="vit", pooling="cls", input=SQUARE, origin=None, attention="sdpa", **changes):
    torch.manual_seed(0)
    architecture = {**TINY.get(kind, {}), **changes} if origin is None else changes
    backbone = tower(input, kind, origin, architecture, pooling, attention)
    for parameter in backbone.parameters():  # zeros and ones would hide a forgotten part
        torch.nn.init.normal_(parameter, std=0.2)
    return backbone.eval()


def images(count=2, size=(32, 32), channels=3):
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(1))


def library(backbone, x):
    """What transformers' own net gives: each stage's output but pooling's, and its class token pooled as published."""
    net = backbone.net
    interpolates = {} if backbone.name == "dinov2" else {"interpolate_pos_encoding": True}
    found = net(x, output_hidden_states=True, **interpolates)
    states = list(found.hidden_states[: net.config.num_hidden_layers])
    pooled = found.pooler_output if found.pooler_output is not None else found.last_hidden_state[:, 0]
    return [*states, found.last_hidden_state], pooled


@pytest.fixture(params=sorted(TINY))
def kind(request):
    return request.param


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("size", [(32, 32), (48, 48), (40, 64)], ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_the_chain_is_transformers_own_forward_at_every_stage(kind, attention, size, count):
    backbone = build(kind, attention=attention)
    x = images(count, size)
    with torch.no_grad():
        states, pooled = library(backbone, x)
        features, kept = backbone.observe(x, backbone.stages)
    assert backbone.stages == ("embeddings", "block0", "block1", "block2", "pool")
    for stage, state in zip(backbone.stages, states, strict=False):
        assert_close(kept[stage], state, rtol=1e-5, atol=1e-5)
    assert_close(features, pooled, rtol=1e-5, atol=1e-5)
    assert features.shape == (count, backbone.features) and features.std() > 1e-2


def test_entering_at_any_boundary_with_transformers_activation_gives_its_features(kind):
    backbone = build(kind)
    with torch.no_grad():
        states, pooled = library(backbone, images())
        for before, stage in zip(states, backbone.stages[1:], strict=True):
            assert_close(backbone(before.clone(), start=stage), pooled, rtol=1e-5, atol=1e-5)


def test_in_training_dropout_and_gradients_are_transformers_own_under_the_same_seed(kind):
    backbone = build(kind).train()
    x = images(3)
    torch.manual_seed(5)
    _, theirs = library(backbone, x)
    theirs.square().sum().backward()
    expected = {
        name: parameter.grad.clone() for name, parameter in backbone.named_parameters() if parameter.grad is not None
    }
    backbone.zero_grad()
    torch.manual_seed(5)
    ours = backbone(x)
    ours.square().sum().backward()
    assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours, build(kind)(x), atol=1e-3)
    found = {name: parameter.grad for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.linalg.vector_norm(gradient - expected[name]) <= 1e-5 * torch.linalg.vector_norm(expected[name]), (
            name
        )


def test_mean_pooling_averages_the_patches_and_leaves_out_the_class_token(kind):
    backbone = build(kind, pooling="mean")
    x = images()
    with torch.no_grad():
        mean = library(backbone, x)[0][-1][:, 1:].mean(1)
        expected = backbone.net.post_layernorm(mean) if kind == "clip_vision_model" else mean
        assert_close(backbone(x), expected, rtol=1e-5, atol=1e-5)


def test_each_stage_trains_its_own_part_and_the_last_norm_is_where_it_is_computed(kind):
    backbone = build(kind)
    assert backbone.parametric == (backbone.stages if kind == "clip_vision_model" else backbone.stages[:-1])
    owned = [id(p) for stage in backbone.stages for p in backbone.stage_parameters(stage)]
    assert sorted(owned) == sorted(id(p) for p in backbone.parameters())
    stage = "pool" if kind == "clip_vision_model" else "block2"
    norm = backbone.net.get_submodule(LAST_NORM[kind]).weight
    assert any(p is norm for p in backbone.stage_parameters(stage))


def test_a_frozen_stage_is_still_while_those_behind_it_drop_out(kind):
    backbone = build(kind)
    backbone.set_trainable(["block1"])
    backbone.train()
    x = images()
    hidden = backbone(x, stop="block1")
    assert_close(backbone(x, stop="block1"), hidden, rtol=0, atol=0)
    assert not torch.equal(backbone(hidden, start="block1"), backbone(hidden, start="block1"))


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 40, 64)])
def test_maps_are_the_patches_where_they_lie_in_the_image(kind, shape):
    backbone = build(kind, input=ArrayInput.of(*shape))
    x = images(1, shape[1:])
    tokens = backbone(x, stop="pool")
    backbone.cut()
    maps = backbone.maps(backbone(x))
    rows, columns = shape[1] // 8, shape[2] // 8
    assert maps.shape == (1, 32, rows, columns)
    for row, column in ((0, 0), (1, 2), (rows - 1, columns - 1)):
        assert_close(maps[0, :, row, column], tokens[0, 1 + row * columns + column])


def test_grey_images_and_other_sizes_make_a_fitting_net_where_nothing_is_loaded(kind):
    backbone = build(kind, input=ArrayInput.of(1, 24, 24))
    assert backbone.net.config.num_channels == 1 and backbone.net.config.image_size == 24
    assert backbone(images(2, (24, 24), 1)).shape == (2, 32)


def test_weights_saved_by_transformers_load_and_give_its_features(kind, tmp_path):
    torch.manual_seed(3)
    saved = AutoModel.from_config(build(kind).net.config).eval()
    for parameter in saved.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    saved.save_pretrained(tmp_path)
    backbone = build(kind, origin=str(tmp_path))
    load(backbone, f"hub:{tmp_path}")
    x = images()
    with torch.no_grad():
        expected = saved(x).last_hidden_state[:, 0]
        expected = saved.post_layernorm(expected) if kind == "clip_vision_model" else expected
        assert_close(backbone(x), expected, rtol=1e-5, atol=1e-5)


def test_a_classifiers_checkpoint_gives_its_tower_without_the_classifier(tmp_path):
    config = ViTConfig(**TINY["vit"], image_size=32, num_labels=7)
    saved = ViTForImageClassification(config).eval()
    saved.save_pretrained(tmp_path)
    backbone = build("vit", origin=str(tmp_path))
    load(backbone, f"hub:{tmp_path}")
    with torch.no_grad():
        assert_close(saved.classifier(backbone(images())), saved(images()).logits, rtol=1e-5, atol=1e-5)


def test_the_vision_tower_is_taken_out_of_a_whole_clip(tmp_path):
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = CLIPConfig(text_config=text, vision_config={**TINY["clip_vision_model"], "image_size": 32})
    saved = CLIPModel(config).eval()
    saved.save_pretrained(tmp_path)
    backbone = build("clip_vision_model", origin=str(tmp_path))
    load(backbone, f"hub:{tmp_path}")
    with torch.no_grad():
        expected = saved.vision_model(images()).pooler_output
        assert_close(backbone(images()), expected, rtol=1e-5, atol=1e-5)


def test_published_positions_are_interpolated_for_another_image_size(kind, tmp_path):
    build(kind).net.save_pretrained(tmp_path)
    backbone = build(kind, origin=str(tmp_path), input=ArrayInput.of(3, 56, 56))
    load(backbone, f"hub:{tmp_path}")
    x = images(2, (56, 56))
    with torch.no_grad():
        assert_close(backbone(x), library(backbone, x)[1], rtol=1e-5, atol=1e-5)
    assert backbone.net.config.image_size == 32


def test_a_tower_is_picklable(kind):
    backbone = build(kind)
    x = images()
    assert_close(pickle.loads(pickle.dumps(backbone))(x), backbone(x))


def test_what_does_not_fit_is_said_in_a_sentence(tmp_path):
    build("vit").net.save_pretrained(tmp_path)
    for wrong, sentence in (
        ({"kind": "swin"}, "no vision tower of type 'swin'"),
        ({"pooling": "max"}, r"no backbone\.pooling 'max'"),
        ({"input": ArrayInput.of(8)}, "takes images"),
        ({"input": SeriesInput(3, None, "crop", "none")}, "is for series, 'vit' takes images"),
        ({"input": ArrayInput.of(3, 6, 32)}, "from 8 x 8 on"),
        ({"input": ArrayInput.of(1, 32, 32), "origin": str(tmp_path)}, "takes 3 channels"),
        ({"num_hidden_layer": 2}, "did you mean 'num_hidden_layers'"),
    ):
        with pytest.raises(InputError, match=sentence):
            build(**{"kind": "vit", **wrong})
