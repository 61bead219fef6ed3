"""Other channels, image sizes and poolings of torchvision's families, and what they refuse."""

import pytest
import torch
import torchvision
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from transferlab.backbones import torchvision as families
from transferlab.backbones import weights
from transferlab.backbones.fitted import first_convolution
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput

from .torchvision_nets import FAMILIES, INPUT, build, last_linear, library_of

# maps of a 64 px image before the pooling
MAPS = {
    "resnet18": (512, 2, 2),
    "densenet121": (1024, 2, 2),
    "mobilenet_v3_small": (576, 2, 2),
    "efficientnet_b0": (1280, 2, 2),
    "convnext_tiny": (768, 2, 2),
    "regnet_y_400mf": (440, 2, 2),
    "swin_t": (768, 2, 2),
}
STEMS = {
    "resnet18": "conv1",
    "densenet121": "features.conv0",
    "mobilenet_v2": "features.0.0",
    "efficientnet_b0": "features.0.0",
    "convnext_tiny": "features.0.0",
    "regnet_x_400mf": "stem.0",
    "swin_t": "features.0.0",
}


def quick_or_slow(name):
    quick = name in ("resnet18", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf")
    return pytest.param(name, marks=[] if quick else pytest.mark.slow)


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def small_vit(monkeypatch):
    """torchvision's ViT class with two narrow blocks, under a published name: the real ones take seconds to make."""

    def made(name, weights, image_size=224):
        return VisionTransformer(image_size, 32, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24)

    monkeypatch.setattr(torchvision.models, "get_model", made)


def small(side):
    return build("vit_b_32", ArrayInput.of(3, side, side)).eval()


@pytest.mark.parametrize("name", [quick_or_slow(name) for name in MAPS])
def test_without_its_tail_a_net_gives_maps_whose_pooling_gives_the_features(name, x):
    backbone = build(name).eval()
    with torch.no_grad():
        handed = backbone(x, stop=backbone.tail)
        features = backbone(x)
        maps = backbone.maps(handed)
        if name in ("resnet18", "regnet_y_400mf", "densenet121", "efficientnet_b0", "swin_t"):
            torch.testing.assert_close(maps.mean((2, 3)), features, rtol=1e-5, atol=1e-5)
        backbone.cut()
        torch.testing.assert_close(backbone.maps(backbone(x)), maps, rtol=0, atol=0)
    assert maps.shape == (2, *MAPS[name])


def test_a_vits_maps_are_its_tokens_in_the_order_of_the_patches(small_vit):
    backbone = small(64)
    with torch.no_grad():
        tokens = backbone(torch.randn(1, 3, 64, 64), stop="pool")
    maps = backbone.maps(tokens)
    for row in range(2):
        for column in range(2):
            assert torch.equal(maps[0, :, row, column], tokens[0, 1 + 2 * row + column])


def test_a_vit_without_its_tail_gives_maps(small_vit):
    backbone = small(96)
    backbone.cut()
    assert backbone.maps(backbone(torch.randn(2, 3, 96, 96))).shape == (2, 16, 3, 3)
    assert backbone.stages == ("patches", "block0", "block1")


@pytest.mark.parametrize("name", [quick_or_slow(name) for name in STEMS])
@pytest.mark.parametrize("channels", [1, 4])
def test_the_first_convolution_is_rebuilt_for_other_channels(name, channels):
    backbone = build(name, ArrayInput.of(channels, 64, 64)).eval()
    assert first_convolution(backbone.net) == STEMS[name]
    assert backbone.net.get_submodule(STEMS[name]).weight.shape[1] == channels
    assert backbone(torch.randn(2, channels, 64, 64)).shape == (2, backbone.features)


@pytest.mark.parametrize("channels", [1, 4])
def test_the_patches_of_a_vit_take_other_channels(small_vit, channels):
    backbone = build("vit_b_32", ArrayInput.of(channels, 64, 64)).eval()
    assert first_convolution(backbone.net) == "conv_proj"
    assert backbone(torch.randn(2, channels, 64, 64)).shape == (2, 16)


@pytest.mark.parametrize("channels", [1, 2, 12])
def test_fresh_weights_for_other_channels_spread_as_the_librarys(channels):
    torch.manual_seed(0)
    outputs = []
    for count in (3, channels):
        net = families.resnet(ArrayInput.of(count, 32, 32), "resnet18").net
        outputs.append(net.conv1(torch.randn(8, count, 64, 64)).std().item())
    assert outputs[1] == pytest.approx(outputs[0], rel=0.15)


@pytest.mark.parametrize("name", ["vgg11_bn", pytest.param("vgg11", marks=pytest.mark.slow)])
def test_vgg_with_mean_pooling_gives_each_maps_mean(name, x):
    backbone = build(name, pooling="mean").eval()
    assert backbone.stages == ("block1", "block2", "block3", "block4", "block5", "pool")
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), backbone.net.features(x).mean((2, 3)), rtol=1e-5, atol=1e-5)


def test_vgg_with_flattening_gives_every_number_of_the_maps():
    x = torch.randn(2, 3, 64, 100)
    backbone = families.vgg(ArrayInput.of(3, 64, 100), "vgg11_bn", "flatten").eval()
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), backbone.net.features(x).flatten(1), rtol=1e-5, atol=1e-5)
    assert backbone.features == 512 * 2 * 3


@pytest.mark.slow
def test_vgg_with_mean_pooling_leaves_published_classifiers_out(tmp_path):
    published = torchvision.models.vgg11().state_dict()
    # torchvision's IMAGENET1K_FEATURES of VGG-16 has no numbers there
    published["classifier.0.weight"].fill_(torch.nan)
    torch.save(published, tmp_path / "vgg11.pth")
    backbone = families.vgg(INPUT, "vgg11", "mean")
    weights.load(backbone, str(tmp_path / "vgg11.pth"))
    assert set(backbone.net.state_dict()) == {key for key in published if key.startswith("features.")}
    assert all(torch.equal(value, published[key]) for key, value in backbone.net.state_dict().items())
    with pytest.raises(InputError, match=r"NaN or infinite numbers in 1 tensors, e\.g\. classifier\.0\.weight"):
        weights.load(families.vgg(INPUT, "vgg11", "classifier"), str(tmp_path / "vgg11.pth"))


def test_an_unknown_pooling_is_refused():
    with pytest.raises(InputError, match=r"backbone\.pooling=max: classifier, mean or flatten"):
        families.vgg(INPUT, "vgg11", "max")


@pytest.mark.parametrize("side", [96, 224])
def test_a_vit_takes_images_of_another_size_with_interpolated_positions(small_vit, side):
    backbone = small(side)
    x = torch.randn(2, 3, 64, 64)
    other = torchvision.models.get_model("vit_b_32", None, image_size=64).eval()
    other.heads = torch.nn.Identity()
    other.load_state_dict(interpolate_embeddings(64, 32, dict(backbone.net.state_dict())))
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), other(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [32, 96, 384])
def test_position_embeddings_of_another_size_are_interpolated_as_torchvision_does(small_vit, tmp_path, side):
    published = small(224).net.state_dict()
    torch.save(published, tmp_path / "vit.pth")
    backbone = small(side)
    weights.load(backbone, str(tmp_path / "vit.pth"))
    expected = interpolate_embeddings(side, 32, dict(published))["encoder.pos_embedding"]
    assert expected.shape == (1, 1 + (side // 32) ** 2, 16)
    torch.testing.assert_close(backbone.net.encoder.pos_embedding.data, expected, rtol=0, atol=0)


def test_positions_of_no_square_are_refused_as_another_shape(small_vit, tmp_path):
    state = small(64).net.state_dict() | {"encoder.pos_embedding": torch.zeros(1, 7, 16)}
    torch.save(state, tmp_path / "vit.pth")
    with pytest.raises(InputError, match=r"in another shape 1 of .* encoder\.pos_embedding"):
        weights.load(small(64), str(tmp_path / "vit.pth"))


@pytest.mark.parametrize("name", ["swin_t", pytest.param("swin_v2_t", marks=pytest.mark.slow)])
def test_swin_takes_sizes_that_its_windows_do_not_divide(name):
    backbone = build(name, ArrayInput.of(3, 40, 72)).eval()
    x = torch.randn(2, 3, 40, 72)
    library = library_of(backbone).eval()
    with torch.no_grad():
        logits = library.get_submodule(last_linear(library))(backbone(x))
        torch.testing.assert_close(logits, library(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "name", "nearest"),
    [
        (families.resnet, "resnet19", "did you mean 'resnet18'"),
        (families.vgg, "vgg12", "did you mean 'vgg1"),
        (families.resnet, "vgg11", "wide_resnet50_2"),
        (families.vit, "vit_b", "vit_b_16"),
        (families.swin, "swin3d_t", "swin_t"),
        (families.mobilenet_v2, "mobilenet_v3_small", "mobilenet_v2"),
    ],
)
def test_an_unknown_net_raises_and_lists_the_family(family, name, nearest):
    arguments = ("mean",) if family is families.vgg else ()
    with pytest.raises(InputError, match=rf"'{name}'.*{nearest}"):
        family(INPUT, name, *arguments)


@pytest.mark.parametrize("shape", [[64], [64, 64], [0, 64, 64], [3, 31, 64]])
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "vit_b_16", "swin_t", "convnext_tiny"])
def test_an_input_that_is_no_image_or_too_small_raises(name, shape):
    (family,) = [builder for word, builder in FAMILIES.items() if name.startswith(word)]
    with pytest.raises(InputError, match=rf"backbone\.input\.shape=.*{name} takes"):
        family(ArrayInput(shape, None, None, "bilinear", None), name)


@pytest.mark.parametrize(
    ("name", "shape"), [("vit_b_16", [3, 64, 32]), ("vit_b_32", [3, 80, 80]), ("vit_h_14", [3, 32, 32])]
)
def test_a_vit_refuses_images_that_are_not_square_or_not_whole_patches(name, shape):
    with pytest.raises(InputError, match=rf"{name} takes square images whose side is a multiple of {name[-2:]}"):
        families.vit(ArrayInput.of(*shape), name)


def test_a_vit_proposes_the_nearest_smaller_size():
    with pytest.raises(InputError, match=r"such as \[1,64,64\]"):
        families.vit(ArrayInput.of(1, 80, 80), "vit_b_32")
