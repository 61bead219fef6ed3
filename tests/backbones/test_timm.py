import pickle
import sys

import pytest
import timm
import torch
from torch import nn

from transferlab.backbones import weights
from transferlab.backbones.small import convnet
from transferlab.backbones.timm import named
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput

INPUT = ArrayInput.of(3, 64, 64)
QUICK = [
    "resnet10t",
    "tf_efficientnet_lite0",
    "vit_tiny_patch16_224",
    "mobilenetv3_small_050",
    "convnext_atto",
    "regnetx_002",
]
SLOW = [
    "densenet121",
    "deit_tiny_distilled_patch16_224",
    "dla34",
    "ese_vovnet19b_slim",
    "ghostnet_050",
    "mixer_s32_224",
    "mobilevit_xs",
    "pvt_v2_b0",
    "rexnet_100",
    "seresnet18",
    "swin_tiny_patch4_window7_224",
    "tresnet_m",
    "vit_tiny_r_s16_p8_224",
    "xception41",
]


def library_of(backbone, **settings):
    """timm's whole net with the backbone's weights, built as timm builds it, its classifier in place."""
    if timm.get_pretrained_cfg(backbone.name).fixed_input_size:
        settings = {"img_size": 64, **settings}
    net = timm.create_model(backbone.name, num_classes=5, **settings)
    left = net.load_state_dict(backbone.net.state_dict(), strict=False)
    assert not left.unexpected_keys
    assert all(key.startswith(backbone.ignored) for key in left.missing_keys)
    return net


def calibrated(net):
    """BatchNorm off its first values, at which it is the identity."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return net


def build(name):
    torch.manual_seed(0)
    return calibrated(named(INPUT, name))


@pytest.fixture(scope="module", params=[*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def pair(request):
    backbone = build(request.param)
    return backbone, library_of(backbone)


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def features_of(library, x):
    return library.forward_head(library.forward_features(x), pre_logits=True)


def test_the_chain_is_timms_forward_and_feeds_its_classifier(pair, x):
    backbone, library = (net.eval() for net in pair)
    with torch.no_grad():
        features = backbone(x)
        torch.testing.assert_close(features, features_of(library, x), rtol=1e-5, atol=1e-5)
        assert features.shape == (2, backbone.features)
        assert features.std() > 1e-3
        classifier = library.get_classifier()
        if isinstance(classifier, nn.Linear):  # a distilled net has two, some have a convolution
            torch.testing.assert_close(classifier(features), library(x), rtol=1e-5, atol=1e-5)


def test_entering_at_every_boundary_gives_the_full_pass_and_leaves_what_is_handed_on_as_it_was(pair, x):
    backbone, _ = (net.eval() for net in pair)
    with torch.no_grad():
        whole, kept = backbone.observe(x, backbone.stages)
        for before, stage in zip(backbone.stages, backbone.stages[1:], strict=False):
            stored = kept[before].clone()
            torch.testing.assert_close(backbone(stored, start=stage), whole, rtol=0, atol=0)
            torch.testing.assert_close(backbone(x, stop=stage), stored, rtol=0, atol=0)
            torch.testing.assert_close(backbone(stored, start=stage), whole, rtol=0, atol=0)


def test_training_mode_gives_timms_features_gradients_and_statistics(pair, x):
    backbone, library = (net.train() for net in pair)
    before = {key: value.clone() for key, value in backbone.net.state_dict().items()}
    library.load_state_dict(before, strict=False)
    torch.manual_seed(2)
    ours = backbone(x)
    torch.manual_seed(2)
    theirs = features_of(library, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for net, features in ((backbone.net, ours), (library, theirs)):
        net.zero_grad()
        features.square().sum().backward()
    theirs_by_name = dict(library.named_parameters())
    for name, parameter in backbone.net.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs_by_name[name].grad, rtol=1e-4, atol=1e-4)
    moved = library.state_dict()
    for key, value in backbone.net.state_dict().items():
        torch.testing.assert_close(value, moved[key], rtol=1e-5, atol=1e-5)
    backbone.net.load_state_dict(before)


def test_every_net_begins_with_a_stem_ends_with_a_pool_and_has_stages_to_freeze_between(pair):
    backbone, _ = pair
    assert (backbone.stages[0], backbone.stages[-1], backbone.tail) == ("stem", "pool", "pool")
    assert set(backbone.stages[1:-1]) <= set(backbone.parametric)
    assert len(backbone.parametric) >= 4


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("resnet10t", ["stem", "layer1", "layer2", "layer3", "layer4", "pool"]),
        ("tf_efficientnet_lite0", ["stem", *(f"block{i}" for i in range(7)), "conv_head", "pool"]),
        ("vit_tiny_patch16_224", ["stem", *(f"block{i}" for i in range(12)), "pool"]),
        ("convnext_atto", ["stem", *(f"stage{i}" for i in range(4)), "pool"]),
        ("regnetx_002", ["stem", "s1", "s2", "s3", "s4", "pool"]),
    ],
)
def test_stages_are_named_as_timm_names_its_modules(name, stages):
    assert list(named(INPUT, name).stages) == stages


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "convnext_atto"])
def test_stages_before_the_pool_give_timms_own_maps(name, x):
    backbone = build(name).eval()
    library = library_of(backbone).eval()
    with torch.no_grad():
        (expected,) = library.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)
        torch.testing.assert_close(backbone.maps(backbone(x, stop="pool")), expected, rtol=1e-5, atol=1e-5)
        backbone.cut()
        torch.testing.assert_close(backbone.maps(backbone(x)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_vit_takes_smaller_images_than_it_was_built_for_and_at_its_own_size_is_timms(x):
    backbone = named(ArrayInput.of(3, 224, 224), "vit_tiny_patch16_224").eval()
    library = library_of(backbone, img_size=224).eval()
    large = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(backbone(large), features_of(library, large), rtol=1e-5, atol=1e-5)
        assert backbone.maps(backbone(x, stop="pool")).shape == (2, 192, 4, 4)


@pytest.mark.parametrize(
    ("name", "path"),
    [("resnet10t", "conv1.0"), ("vit_tiny_patch16_224", "patch_embed.proj"), ("regnetx_002", "stem.conv")],
)
@pytest.mark.parametrize("channels", [1, 5])
def test_a_net_takes_images_of_other_channels(name, path, channels):
    backbone = named(ArrayInput.of(channels, 64, 64), name)
    assert backbone.net.get_submodule(path).in_channels == channels


def test_a_backbone_can_be_pickled(x):
    backbone = build("vit_tiny_patch16_224").eval()
    with torch.no_grad():
        torch.testing.assert_close(pickle.loads(pickle.dumps(backbone))(x), backbone(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["levit_128s", "xcit_nano_12_p16_224"])
def test_a_net_that_is_no_chain_of_modules_is_refused_with_a_sentence(name):
    with pytest.raises(InputError, match=rf"backbone\.name={name}: .* no chain of stages; choose another"):
        named(ArrayInput.of(3, 224, 224), name)


def test_an_unknown_net_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"backbone\.name=resnet10: timm has no such net; did you mean 'resnet1"):
        named(INPUT, "resnet10")


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet10t", [64]), ("resnet10t", [64, 64]), ("inception_v3", [3, 64, 64]), ("halonet26t", [3, 64, 64])],
)
def test_an_input_that_does_not_fit_is_refused_with_a_sentence(name, shape):
    with pytest.raises(InputError, match=r"backbone\.input\.shape=\[.*64\]"):
        named(ArrayInput.of(*shape), name)


def test_without_timm_a_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install transferlab\[timm\]"):
        named(INPUT, "resnet10t")


@pytest.fixture
def published(monkeypatch):
    """What the hub holds, in place of the hub: by architecture, weights of a whole net of timm."""
    asked = []

    def download(hub_id, *args, **kwargs):
        asked.append(hub_id)
        torch.manual_seed(5)
        return timm.create_model(hub_id.removeprefix("timm/").partition(".")[0]).state_dict()

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", download)
    return asked


def published_state(name):
    torch.manual_seed(5)
    return timm.create_model(name).state_dict()


@pytest.mark.parametrize("tag", ["DEFAULT", "c3_in1k"])
def test_timms_published_weights_arrive(published, tag):
    backbone = named(INPUT, "resnet10t")
    weights.load(backbone, f"timm:{tag}")
    expected = published_state("resnet10t")
    assert published == ["timm/resnet10t.c3_in1k"]
    for key, value in backbone.net.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=0)


def test_timms_published_weights_fit_grey_images_and_another_size(published):
    backbone = named(ArrayInput.of(1, 64, 64), "vit_tiny_patch16_224")
    weights.load(backbone, "timm:DEFAULT")
    loaded, expected = backbone.net.state_dict(), published_state("vit_tiny_patch16_224")
    kernel = "patch_embed.proj.weight"
    torch.testing.assert_close(loaded[kernel], expected[kernel].sum(1, keepdim=True))
    assert loaded["pos_embed"].shape == (1, 17, 192)
    torch.testing.assert_close(loaded["pos_embed"][:, 0], expected["pos_embed"][:, 0])
    torch.testing.assert_close(loaded["blocks.3.mlp.fc1.weight"], expected["blocks.3.mlp.fc1.weight"])


def test_an_unknown_tag_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"weights for resnet10t 'c3_in1'; did you mean 'c3_in1k'"):
        weights.load(named(INPUT, "resnet10t"), "timm:c3_in1")


def test_a_failed_download_is_told_in_a_sentence(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no network in tests")

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", refuse)
    with pytest.raises(InputError, match=r"timm:DEFAULT: .*no network in tests.*source=checkpoint"):
        weights.load(named(INPUT, "resnet10t"), "timm:DEFAULT")


def test_weights_of_timm_go_into_no_other_librarys_net():
    with pytest.raises(InputError, match=r"'convnet' is no net of timm; choose backbone=timm"):
        weights.load(convnet(ArrayInput.of(1, 8, 8), [3]), "timm:DEFAULT")


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])  # the second has a tensor `head.norm` of its own
def test_a_file_of_timms_whole_net_loads_without_its_classifier(tmp_path, name):
    library = library_of(build(name))
    torch.save(library.state_dict(), tmp_path / "weights.pt")
    backbone = named(INPUT, name)
    weights.load(backbone, str(tmp_path / "weights.pt"))
    for key, value in backbone.net.state_dict().items():
        torch.testing.assert_close(value, library.state_dict()[key], rtol=0, atol=0)
