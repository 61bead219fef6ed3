import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from transferlab.backbones import torchvision as families
from transferlab.errors import InputError

INPUT = {"shape": [3, 64, 64]}
QUICK = ["resnet18", "resnet50", "vgg11_bn", pytest.param("vgg11", marks=pytest.mark.slow)]
LARGE = ["resnet34", "resnet101", "resnet152", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]
RESNET_NODES = {
    "stem": "maxpool",
    "layer1": "layer1",
    "layer2": "layer2",
    "layer3": "layer3",
    "layer4": "layer4",
    "pool": "flatten",
}


def build(name):
    torch.manual_seed(0)
    family = families.resnet if name.startswith("resnet") else families.vgg
    return calibrated(family(INPUT, name))


def calibrated(net):
    """BatchNorm off its first values, at which it is the identity."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return net


def vgg_nodes(net):
    pools = [index for index, module in enumerate(net.features) if isinstance(module, nn.MaxPool2d)]
    blocks = {f"block{number}": f"features.{index}" for number, index in enumerate(pools, start=1)}
    return {**blocks, "pool": "flatten", "fc6": "classifier.2", "fc7": "classifier.5"}


def library_of(backbone):
    """torchvision's whole net with the backbone's weights, its classifier in place."""
    net = torchvision.models.get_model(backbone.name, weights=None)
    left = net.load_state_dict(backbone.net.state_dict(), strict=False)
    assert not left.unexpected_keys
    assert all(key.startswith(("fc.", "classifier.6.")) for key in left.missing_keys)
    return net


def activations(backbone, library, x):
    """What torchvision's own forward gives at the end of every stage."""
    nodes = RESNET_NODES if backbone.name.startswith("resnet") else vgg_nodes(library)
    extractor = create_feature_extractor(library, {node: stage for stage, node in nodes.items()})
    extractor.train(library.training)
    found = extractor(x)
    return {stage: found[stage] for stage in nodes}


@pytest.fixture(scope="module", params=QUICK)
def backbone(request):
    return build(request.param)


@pytest.fixture(scope="module")
def library(backbone):
    return library_of(backbone)


@pytest.fixture(autouse=True)
def everything_trains(request):
    if "backbone" in request.fixturenames:
        backbone = request.getfixturevalue("backbone")
        backbone.eval()
        backbone.set_trainable(backbone.stages)
        backbone.zero_grad()


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def assert_chain_is_library(backbone, library, x):
    library.eval()
    backbone.eval()
    with torch.no_grad():
        expected = activations(backbone, library, x)
        features, kept = backbone.observe(x, backbone.stages)
    assert backbone.stages == tuple(expected)
    torch.testing.assert_close(features, expected[backbone.stages[-1]], rtol=1e-6, atol=1e-6)
    for stage in backbone.stages:
        torch.testing.assert_close(kept[stage], expected[stage], rtol=1e-6, atol=1e-6)
    # the features feed the library's own classifier: nothing is left out between them
    classifier = library.fc if backbone.name.startswith("resnet") else library.classifier[6]
    with torch.no_grad():
        torch.testing.assert_close(classifier(features), library(x), rtol=1e-5, atol=1e-6)
    assert features.shape == (len(x), backbone.features)
    assert features.std() > 1e-3


def test_the_chain_is_torchvisions_forward_at_every_stage(backbone, library, x):
    assert_chain_is_library(backbone, library, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_chain_of_a_large_net_is_torchvisions_forward_at_every_stage(name, x):
    backbone = build(name)
    assert_chain_is_library(backbone, library_of(backbone), x)


def test_entering_at_any_boundary_with_torchvisions_activation_gives_its_features(backbone, library, x):
    library.eval()
    with torch.no_grad():
        stored = activations(backbone, library, x)
        for before, stage in zip(backbone.stages, backbone.stages[1:], strict=False):
            given = backbone(stored[before].clone(), start=stage)
            torch.testing.assert_close(given, stored[backbone.stages[-1]], rtol=1e-6, atol=1e-6)


def test_stopping_before_a_stage_gives_what_torchvision_hands_it(backbone, library, x):
    library.eval()
    with torch.no_grad():
        expected = activations(backbone, library, x)
        for before, stage in zip(backbone.stages, backbone.stages[1:], strict=False):
            torch.testing.assert_close(backbone(x, stop=stage), expected[before], rtol=1e-6, atol=1e-6)


def test_training_mode_gives_torchvisions_features_gradients_and_statistics(backbone, library, x):
    before = {key: value.clone() for key, value in backbone.net.state_dict().items()}
    backbone.train()
    library.train()
    library.zero_grad()
    torch.manual_seed(5)
    ours = backbone(x)
    ours.square().sum().backward()
    torch.manual_seed(5)
    theirs = activations(backbone, library, x)[backbone.stages[-1]]
    theirs.square().sum().backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    expected = dict(library.named_parameters())
    for name, parameter in backbone.net.named_parameters():
        reference = expected[name].grad
        difference = torch.linalg.vector_norm(parameter.grad.sub_(reference))
        assert difference <= 1e-5 * torch.linalg.vector_norm(reference), name
    library.zero_grad()
    buffers = dict(library.named_buffers())
    for name, buffer in backbone.net.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], rtol=1e-5, atol=1e-6, msg=name)
    backbone.net.load_state_dict(before)
    library.load_state_dict(before, strict=False)


def test_state_dict_keys_are_torchvisions_without_the_classifier(backbone, library):
    expected = {key for key in library.state_dict() if not key.startswith(("fc.", "classifier.6."))}
    assert set(backbone.state_dict()) == {f"net.{key}" for key in expected}


def test_all_stages_but_pooling_can_be_trained(backbone):
    assert backbone.parametric == tuple(stage for stage in backbone.stages if stage != "pool")


def test_every_parameter_is_of_exactly_one_stage(backbone):
    owned = [id(p) for stage in backbone.stages for p in backbone.stage_parameters(stage)]
    assert sorted(owned) == sorted(id(p) for p in backbone.parameters())


def test_a_frozen_prefix_is_still_in_training_mode_and_the_rest_is_not(backbone, x):
    trains = backbone.stages[-3] if backbone.name.startswith("resnet") else "fc7"
    before = {key: value.clone() for key, value in backbone.net.state_dict().items()}
    backbone.train()
    backbone.set_trainable([trains])
    hidden = backbone(x, stop=trains)
    torch.testing.assert_close(backbone(x, stop=trains), hidden, rtol=0, atol=0)
    backbone(x).sum().backward()
    moved = {key for key, value in backbone.net.state_dict().items() if not torch.equal(value, before[key])}
    if backbone.name.startswith("resnet"):
        assert moved and all(key.startswith(f"{trains}.") for key in moved)
    else:
        assert not moved
        assert not torch.equal(backbone(hidden, start=trains), backbone(hidden, start=trains))
    got = {id(p) for p in backbone.parameters() if p.grad is not None}
    assert got == {id(p) for p in backbone.stage_parameters(trains)}
    backbone.net.load_state_dict(before)


def test_another_batch_size_and_image_size_pass(backbone):
    backbone.eval()
    with torch.no_grad():
        assert backbone(torch.randn(1, 3, 96, 80)).shape == (1, backbone.features)


@pytest.mark.parametrize(
    ("family", "name", "nearest"),
    [(families.resnet, "resnet19", "resnet18"), (families.vgg, "vgg12", "vgg1"), (families.resnet, "vgg11", "resnet")],
)
def test_an_unknown_net_raises_and_lists_the_family(family, name, nearest):
    with pytest.raises(InputError, match=rf"'{name}'.*{nearest}"):
        family(INPUT, name)


@pytest.mark.parametrize("shape", [[1, 64, 64], [64], [64, 64]])
def test_an_input_that_is_no_colour_image_raises(shape):
    with pytest.raises(InputError, match=r"backbone\.input\.shape"):
        families.resnet({"shape": shape}, "resnet18")
