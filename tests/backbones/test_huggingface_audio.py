import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from transformers import (
    ASTForAudioClassification,
    AutoModel,
    HubertForSequenceClassification,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from transferlab.backbones.huggingface.audio import ast, waves
from transferlab.backbones.weights import load
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.audio import MelInput, WaveInput
from transferlab.values import Seq

WAVE = WaveInput(16000, None, True)
MEL = MelInput(16000, 0.5, "image", 32, 25, 10, 20, None, None, None)
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
SPEECH = {
    **SIZES,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_length": 4,
    "mask_time_prob": 0.3,
    "mask_feature_length": 4,
    "mask_feature_prob": 0.2,
    "layerdrop": 0.4,
}
NORMS = {
    "group": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": False},
    "stable": {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
}
CLASSIFIERS = {"wav2vec2": Wav2Vec2ForSequenceClassification, "hubert": HubertForSequenceClassification}


def build(kind="wav2vec2", norm="stable", input=WAVE, origin=None, attention="sdpa", **changes):
    torch.manual_seed(0)
    architecture = {**SPEECH, **NORMS[norm], **changes} if origin is None else changes
    backbone = waves(input, kind, origin, architecture, attention)
    return calibrated(backbone)


def build_ast(pooling="cls", input=MEL, origin=None, **changes):
    torch.manual_seed(0)
    dropout = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}
    architecture = {**SIZES, **dropout, **changes} if origin is None else changes
    return calibrated(ast(input, origin, architecture, pooling, "sdpa"))


def calibrated(backbone):
    """Off their first values: zeros and ones would hide a forgotten part."""
    for name, parameter in backbone.named_parameters():
        if "norm" in name or parameter.ndim < 2:
            torch.nn.init.normal_(parameter, 0.5, 0.2)
    return backbone.eval()


def recordings(*lengths):
    """Noise, normalised as the net takes it."""
    longest = max(lengths)
    wave = torch.randn(len(lengths), longest, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return WAVE.normalised(Seq(wave * mask, mask))


def library(backbone, x):
    """transformers' own net: each block's output as it stands before the next, and the last hidden state."""
    net = backbone.net
    seen = x.mask.long() if net.config.feat_extract_norm == "layer" else None
    found = net(x.h, attention_mask=seen, output_hidden_states=True)
    return [*found.hidden_states[: net.config.num_hidden_layers], found.last_hidden_state]


def seeded(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)


@pytest.fixture(params=["wav2vec2", "hubert"])
def kind(request):
    return request.param


@pytest.fixture(params=sorted(NORMS))
def norm(request):
    return request.param


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("lengths", [(4000,), (4000, 2500, 3999)], ids=["one", "padded"])
def test_the_chain_is_transformers_own_forward_at_every_stage(kind, norm, attention, lengths):
    backbone = build(kind, norm, attention=attention)
    x = recordings(*lengths)
    with torch.no_grad():
        states = library(backbone, x)
        features, kept = backbone.observe(x, backbone.stages)
    assert backbone.stages == ("convolutions", "embeddings", "block0", "block1", "block2", "pool")
    for stage, state in zip(backbone.stages[1:-1], states, strict=True):
        assert_close(kept[stage].h, state, rtol=1e-5, atol=1e-5)
    frames = backbone.net._get_feat_extract_output_lengths(torch.tensor(lengths))
    assert kept["convolutions"].mask.sum(1).tolist() == frames.tolist()
    by_hand = torch.stack([state[:count].mean(0) for state, count in zip(states[-1], frames, strict=True)])
    assert_close(features, by_hand, rtol=1e-5, atol=1e-5)
    assert features.shape == (len(lengths), backbone.features) and features.std() > 1e-2


def test_entering_at_any_boundary_with_stored_activations_gives_the_features(kind, norm):
    backbone = build(kind, norm)
    x = recordings(4000, 2500)
    with torch.no_grad():
        features, kept = backbone.observe(x, backbone.stages)
        for before, stage in zip(backbone.stages, backbone.stages[1:], strict=False):
            assert_close(backbone(kept[before], start=stage), features, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_in_training_dropout_masking_and_dropped_layers_are_transformers_own_under_the_same_seed(kind, norm, seed):
    backbone = build(kind, norm).train()
    x = recordings(9000, 6000, 8000)
    seeded(seed)
    theirs = library(backbone, x)[-1]
    theirs.square().sum().backward()
    expected = {name: p.grad.clone() for name, p in backbone.named_parameters() if p.grad is not None}
    backbone.zero_grad()
    seeded(seed)
    ours = backbone(x, stop="pool").h
    ours.square().sum().backward()
    assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours, build(kind, norm)(x, stop="pool").h, atol=1e-2)
    found = {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.linalg.vector_norm(gradient - expected[name]) <= 1e-5 * torch.linalg.vector_norm(expected[name]), (
            name
        )


@pytest.mark.parametrize("norm", ["layer", "stable"])
def test_with_layer_norm_a_padded_recording_has_the_features_of_a_single_one(kind, norm):
    backbone = build(kind, norm)
    lengths = (6000, 2500, 411)
    x = recordings(*lengths)
    with torch.no_grad():
        together = backbone(x)
        for row, length in enumerate(lengths):
            alone = backbone(Seq(x.h[row : row + 1, :length], x.mask[row : row + 1, :length]))
            assert_close(together[row : row + 1], alone, rtol=1e-4, atol=2e-6)


def test_with_group_norm_equal_lengths_do_not_meet_and_padding_does_as_in_the_library(kind):
    backbone = build(kind, "group")
    x = recordings(4000, 4000, 4000)
    with torch.no_grad():
        together = backbone(x)
        for row in range(3):
            assert_close(together[row : row + 1], backbone(Seq(x.h[row : row + 1], x.mask[row : row + 1])))
        alone = recordings(4000)
        longer = torch.nn.functional.pad(alone.h, (0, 4000)), torch.nn.functional.pad(alone.mask, (0, 4000))
        assert (backbone(Seq(*longer)) - backbone(alone)).abs().max() > 1e-3


def test_masking_frames_happens_where_the_embeddings_train_and_nowhere_else(kind):
    backbone = build(kind, hidden_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0)
    x = recordings(9000, 9000)
    backbone.train()
    backbone.set_trainable(["block2"])
    still = backbone(x, stop="block0").h
    assert_close(still, backbone(x, stop="block0").h, rtol=0, atol=0)
    backbone.set_trainable(["embeddings"])
    assert not torch.equal(still, backbone(x, stop="block0").h)


def test_a_layer_is_dropped_only_where_it_trains(kind):
    still = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
    backbone = build(kind, layerdrop=1.0, **still)
    hidden = backbone(recordings(4000), stop="block0")
    backbone.train()
    backbone.set_trainable(["block1"])
    assert not torch.equal(backbone(hidden, start="block0", stop="block1").h, hidden.h)
    assert torch.equal(backbone(hidden, start="block1", stop="block2").h, hidden.h)


def test_recordings_shorter_than_a_frame_and_than_a_masks_span_pass(kind, norm):
    backbone = build(kind, norm)
    x = recordings(120, 7)
    assert backbone(x).isfinite().all()
    assert backbone(x, stop="embeddings").mask.sum(1).tolist() == [1, 1]
    assert backbone.train()(x).isfinite().all()


def test_every_parameter_is_of_one_stage_and_pooling_has_none(kind, norm):
    backbone = build(kind, norm)
    assert backbone.parametric == backbone.stages[:-1]
    owned = [id(p) for stage in backbone.stages for p in backbone.stage_parameters(stage)]
    assert sorted(owned) == sorted(id(p) for p in backbone.parameters())
    norm_weight = backbone.net.encoder.layer_norm.weight
    stage = "block2" if norm == "stable" else "embeddings"
    assert any(p is norm_weight for p in backbone.stage_parameters(stage))


def test_a_classifiers_checkpoint_gives_its_encoder(kind, norm, tmp_path):
    torch.manual_seed(3)
    saved = CLASSIFIERS[kind](build(kind, norm).net.config).eval()
    saved.save_pretrained(tmp_path)
    backbone = build(kind, origin=str(tmp_path))
    load(backbone, f"hub:{tmp_path}")
    x = recordings(4000, 4000)
    with torch.no_grad():
        expected = saved.classifier(saved.projector(library(backbone, x)[-1]).mean(1))
        assert_close(saved(x.h).logits, expected, rtol=1e-5, atol=1e-5)
        states = AutoModel.from_pretrained(tmp_path).eval()(x.h).last_hidden_state
        assert_close(backbone(x), states.mean(1), rtol=1e-4, atol=1e-5)


def test_without_its_pooling_a_net_gives_frames(kind):
    backbone = build(kind)
    states = library(backbone, recordings(4000))[-1]
    backbone.cut()
    assert_close(backbone(recordings(4000)).h, states, rtol=1e-5, atol=1e-5)


def test_a_copy_computes_the_same(kind):
    backbone, x = build(kind), recordings(4000)
    assert_close(deepcopy(backbone)(x), backbone(x))


def test_ast_and_the_glue_of_wave_nets_are_picklable(kind):
    backbone, x = build_ast(), MEL.example(2)
    assert_close(pickle.loads(pickle.dumps(backbone))(x), backbone(x))
    pickle.dumps(build(kind)._chain)  # torch pickles no weight norm, so not the net


def test_a_net_for_waves_says_what_does_not_fit():
    for wrong, sentence in (
        ({"kind": "wavlm"}, "no net for waves of type 'wavlm'"),
        ({"input": MEL}, r"takes waves: choose input@backbone\.input=wave"),
        ({"add_adapter": True}, "add_adapter"),
        ({"attention": "flash"}, "no attention 'flash'"),
    ):
        with pytest.raises(InputError, match=sentence):
            build(**wrong)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_asts_chain_is_transformers_own_forward_in_both_modes(pooling):
    backbone = build_ast(pooling)
    x = MEL.example(3)
    spectra = x[:, 0].transpose(1, 2)
    for mode in (False, True):
        backbone.train(mode)
        torch.manual_seed(5)
        found = backbone.net(spectra, output_hidden_states=True)
        expected = found.pooler_output if pooling == "cls" else found.last_hidden_state[:, 2:].mean(1)
        torch.manual_seed(5)
        features, kept = backbone.observe(x, backbone.stages)
        assert_close(features, expected, rtol=1e-5, atol=1e-5)
        states = [*found.hidden_states[:3], found.last_hidden_state]
        for before, stage, state in zip(backbone.stages, backbone.stages[1:], states, strict=False):
            assert_close(kept[before], state, rtol=1e-5, atol=1e-5)
            if not mode:
                assert_close(backbone(state, start=stage), expected, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(features.square().sum(), list(backbone.parameters()), allow_unused=True)
    theirs = torch.autograd.grad(expected.square().sum(), list(backbone.parameters()), allow_unused=True)
    for ours, other in zip(gradients, theirs, strict=True):
        assert_close(ours, other, rtol=1e-4, atol=1e-4)


def test_asts_maps_have_rows_of_bands_and_columns_of_frames():
    backbone = build_ast()
    x = MEL.example(1)
    tokens = backbone(x, stop="pool")
    maps = backbone.maps(tokens)
    assert maps.shape == (1, 32, 2, 4)  # (32 - 16) // 10 + 1 rows, (48 - 16) // 10 + 1 columns
    for row in range(2):
        for column in range(4):
            assert_close(maps[0, :, row, column], tokens[0, 2 + row * 4 + column])


def test_asts_published_weights_load_and_feed_its_own_classifier(tmp_path):
    saved = ASTForAudioClassification(build_ast().net.config).eval()
    saved.save_pretrained(tmp_path)
    backbone = build_ast(origin=str(tmp_path))
    load(backbone, f"hub:{tmp_path}")
    x = MEL.example(2)
    with torch.no_grad():
        assert_close(saved.classifier(backbone(x)), saved(x[:, 0].transpose(1, 2)).logits, rtol=1e-5, atol=1e-5)


def test_ast_says_what_does_not_fit(tmp_path):
    build_ast().net.save_pretrained(tmp_path)
    longer = MelInput(16000, 1.0, "image", 32, 25, 10, 20, None, None, None)
    frames = MelInput(16000, None, "frames", 32, 25, 10, 20, None, None, None)
    few = MelInput(16000, 1.0, "image", 8, 25, 10, 20, None, None, None)
    for wrong, sentence in (
        ({"input": ArrayInput.of(1, 32, 48)}, "AST takes spectra"),
        ({"input": frames}, "takes images"),
        ({"input": longer, "origin": str(tmp_path)}, "32 bands and 98 frames, this net takes 32 and 48"),
        ({"input": few}, "fewer than the 16 of a patch"),
        ({"pooling": "last"}, r"no backbone\.pooling 'last'"),
    ):
        with pytest.raises(InputError, match=sentence):
            build_ast(**wrong)


def test_the_published_way_of_padding_and_normalising_waves_is_ours():
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    raw = [
        np.random.default_rng(row).normal(0.1, 0.3, length).astype(np.float32) for row, length in enumerate((900, 500))
    ]
    theirs = extractor(raw, sampling_rate=16000, padding=True, return_tensors="pt")
    mask = theirs["attention_mask"].bool()
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(wave) for wave in raw], batch_first=True)
    ours = WAVE.normalised(Seq(padded, mask))
    assert_close(ours.h, theirs["input_values"], rtol=1e-5, atol=1e-5)
