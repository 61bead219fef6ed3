"""Every family's chain of stages against torchvision's own forward."""

import pytest
import torch

from .torchvision_nets import ENDS, build, last_linear, library_of, passed

QUICK = {
    "resnet18",
    "densenet121",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
    "regnet_y_400mf",
    "vit_b_32",
    "swin_t",
}
NETS = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in ENDS]


@pytest.fixture(scope="module", params=NETS)
def backbone(request):
    return build(request.param)


@pytest.fixture(scope="module")
def library(backbone):
    return library_of(backbone)


@pytest.fixture(autouse=True)
def everything_trains(backbone):
    backbone.eval()
    backbone.set_trainable(backbone.stages)
    backbone.zero_grad()


@pytest.fixture
def x():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def close(given, expected, what=None):
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5, msg=what)


def test_the_chain_is_torchvisions_forward_at_every_stage(backbone, library, x):
    library.eval()
    with torch.no_grad():
        expected, logits = passed(library, backbone.name, x)
        features, kept = backbone.observe(x, backbone.stages)
        ours = library.get_submodule(last_linear(library))(features)
    assert features.shape == (2, backbone.features)
    assert features.std() > 1e-2
    close(features, expected["features"])
    close(ours, logits)
    for stage in set(expected) - {"features"}:
        close(kept[stage], expected[stage], stage)


def test_entering_at_any_boundary_gives_the_same_features_and_leaves_what_it_was_handed(backbone, x):
    with torch.no_grad():
        features, kept = backbone.observe(x, backbone.stages)
        for before, stage in zip(backbone.stages, backbone.stages[1:], strict=False):
            handed = kept[before].clone()
            close(backbone(handed, start=stage), features, stage)
            assert torch.equal(handed, kept[before]), f"{stage} overwrites what it is handed"


def test_training_mode_gives_torchvisions_features_gradients_and_statistics(backbone, library, x):
    before = {key: value.clone() for key, value in backbone.net.state_dict().items()}
    backbone.train()
    library.train()
    library.zero_grad()
    torch.manual_seed(5)
    ours = backbone(x)
    ours.square().sum().backward()
    torch.manual_seed(5)
    theirs = passed(library, backbone.name, x)[0]["features"]
    theirs.square().sum().backward()
    close(ours, theirs)
    expected = dict(library.named_parameters())
    for name, parameter in backbone.net.named_parameters():
        reference = expected[name].grad
        difference = torch.linalg.vector_norm(parameter.grad.sub_(reference))
        assert difference <= 1e-5 * torch.linalg.vector_norm(reference), name
    buffers = dict(library.named_buffers())
    for name, buffer in backbone.net.named_buffers():
        close(buffer, buffers[name], name)
    library.zero_grad()
    library.load_state_dict(before, strict=False)
    backbone.net.load_state_dict(before)


def test_every_parameter_is_of_exactly_one_stage(backbone):
    owned = [id(p) for stage in backbone.stages for p in backbone.stage_parameters(stage)]
    assert sorted(owned) == sorted(id(p) for p in backbone.parameters())


def test_all_stages_but_pooling_can_be_trained(backbone):
    # ConvNeXt normalises behind its pooling
    without = () if backbone.name.startswith("convnext") else ("pool",)
    assert backbone.parametric == tuple(stage for stage in backbone.stages if stage not in without)


def test_a_frozen_prefix_is_still_in_training_mode_and_alone_gets_no_gradient(backbone, x):
    trains = backbone.parametric[-1]
    before = {key: value.clone() for key, value in backbone.net.state_dict().items()}
    backbone.train()
    backbone.set_trainable([trains])
    hidden = backbone(x, stop=trains)
    torch.testing.assert_close(backbone(x, stop=trains), hidden, rtol=0, atol=0)
    backbone(x).sum().backward()
    own = {id(tensor) for tensor in backbone.stage_parameters(trains)}
    assert {id(p) for p in backbone.parameters() if p.grad is not None} == own
    moved = {key for key, value in backbone.net.state_dict().items() if not torch.equal(value, before[key])}
    assert all(key.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked") for key in moved)
    assert all(backbone._owner[key] == trains for key in moved)
    backbone.net.load_state_dict(before)


def test_another_batch_size_and_image_size_pass(backbone):
    shape = (96, 96) if backbone.name.startswith("vit") else (96, 80)
    with torch.no_grad():
        assert backbone(torch.randn(1, 3, *shape)).shape == (1, backbone.features)
