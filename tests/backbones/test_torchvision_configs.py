"""One yaml a member of torchvision's families, each with what its published weights were scored with."""

import re

import pytest
import torch
import torchvision
from hydra.utils import instantiate

from transferlab.backbones.torchvision import library
from transferlab.composing import Composer
from transferlab.folders import shipped

FAMILIES = ["resnet*", "resnext*", "wide_resnet*", "vgg*", "densenet*", "mobilenet*", "efficientnet*", "convnext*"]
FAMILIES += ["regnet*", "vit*", "swin*"]
MEMBERS = torchvision.models.list_models(torchvision.models, include=FAMILIES)
YAMLS = {file.stem: file for file in shipped("conf").glob("backbone/*.yaml")}


@pytest.fixture(scope="module")
def composer():
    with Composer() as composer:
        yield composer


def composed(composer, name, **choices):
    given = {"source": "none", "strategy": "scratch", "backbone": name}
    return composer._check_job(given | choices)[0].backbone


def test_every_member_of_every_family_has_its_yaml():
    assert set(MEMBERS) <= set(YAMLS)


@pytest.mark.slow
@pytest.mark.parametrize("name", MEMBERS)
def test_the_input_is_that_of_the_published_weights(composer, name):
    config = composed(composer, name)
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    given = instantiate(config.input)
    assert config.name == name
    assert list(given.shape) == [3, *preset.crop_size * 2]
    assert given.interpolation == preset.interpolation.value
    assert torch.equal(torch.tensor(given.mean).expand(3), torch.tensor(preset.mean))
    assert torch.equal(torch.tensor(given.std).expand(3), torch.tensor(preset.std))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b1", "swin_t"])
def test_another_input_takes_the_place_of_all_of_it(composer, name):
    config = composed(composer, name, **{"input@backbone.input": "image"})
    assert list(config.input.shape) == [1, 28, 28]
    assert list(config.input.mean) == [0.5]


# RegNets compute their widths with tensors, which must hold something
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MEMBERS if not name.startswith("regnet")])
def test_the_comment_names_the_stages_and_the_features_are_those_of_the_published_classifier(
    composer, name, monkeypatch
):
    # without numbers, all members are built in seconds; the chains themselves have tests of their own
    monkeypatch.setattr(library, "check_chain", lambda *args: None)
    with torch.device("meta"):
        backbone = instantiate(composed(composer, name), _convert_="all")
        whole = torchvision.models.get_model(name)
        features = backbone(
            torch.empty(2, 3, *torchvision.models.get_model_weights(name).DEFAULT.transforms().crop_size * 2)
        )
    *_, last = (module for module in whole.modules() if isinstance(module, torch.nn.Linear))
    assert backbone.features == last.in_features
    assert features.shape == (2, backbone.features)
    listed = YAMLS[name].read_text().splitlines()[0].partition("torchvision): ")[2]
    assert backbone.stages == tuple(spelled_out(listed))


def spelled_out(listed):
    """`a, b1..b3` as a, b1, b2, b3."""
    for part in listed.split(", "):
        if match := re.fullmatch(r"([a-z]+)(\d+)\.\.\1(\d+)", part):
            word, first, end = match.groups()
            yield from (f"{word}{number}" for number in range(int(first), int(end) + 1))
        else:
            yield part
