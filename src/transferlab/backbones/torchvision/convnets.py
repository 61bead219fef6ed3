"""torchvision's convolutional families whose features are the last maps' mean."""

from torch import nn

from transferlab.backbones.base import Backbone
from transferlab.backbones.glue import flatten
from transferlab.backbones.stages import Stage
from transferlab.backbones.torchvision.library import average_pool, checked, member, numbered, relu
from transferlab.inputs.arrays import ArrayInput


def resnet(input: ArrayInput, name: str) -> Backbone:
    """ResNet (He et al. 2016), ResNeXt (Xie et al. 2017) and Wide ResNet (Zagoruyko & Komodakis 2016).

    Stages `stem, layer1, layer2, layer3, layer4, pool`, features 512 or 2048.
    """
    net = member(name, ("resnet*", "resnext*", "wide_resnet*"), input)
    features = net.fc.in_features
    net.fc = nn.Identity()
    stages = [
        Stage("stem", ["conv1", "bn1", "relu", "maxpool"]),
        *(Stage(layer, [layer]) for layer in ("layer1", "layer2", "layer3", "layer4")),
        Stage("pool", ["avgpool", flatten]),
    ]
    return checked(Backbone(net, stages, features, name, ignored=["fc"], tail="pool"), input)


def regnet(input: ArrayInput, name: str) -> Backbone:
    """RegNet X and Y (Radosavovic et al. 2020): stages `stem, block1..block4, pool`, features 368 to 7392."""
    net = member(name, ("regnet*",), input)
    features = net.fc.in_features
    net.fc = nn.Identity()
    stages = [
        Stage("stem", ["stem"]),
        *numbered("block", [[f"trunk_output.{block}"] for block, _ in net.trunk_output.named_children()]),
        Stage("pool", ["avgpool", flatten]),
    ]
    return checked(Backbone(net, stages, features, name, ignored=["fc"], tail="pool"), input)


def densenet(input: ArrayInput, name: str) -> Backbone:
    """DenseNet (Huang et al. 2017): stages `stem, block1..block4, pool`, features 1024 to 2208.

    A block begins with the transition that halves its maps; the last one ends with BatchNorm and ReLU.
    """
    net = member(name, ("densenet*",), input)
    features = net.classifier.in_features
    net.classifier = nn.Identity()
    stages = [
        Stage("stem", ["features.conv0", "features.norm0", "features.relu0", "features.pool0"]),
        Stage("block1", ["features.denseblock1"]),
        Stage("block2", ["features.transition1", "features.denseblock2"]),
        Stage("block3", ["features.transition2", "features.denseblock3"]),
        Stage("block4", ["features.transition3", "features.denseblock4", "features.norm5", relu]),
        Stage("pool", [average_pool]),
    ]
    return checked(Backbone(net, stages, features, name, ignored=["classifier"], tail="pool"), input)


def mobilenet_v2(input: ArrayInput, name: str) -> Backbone:
    """MobileNetV2 (Sandler et al. 2018): stages `stem, stage1..stage7, lastconv, pool`, features 1280.

    The published net's dropout before its classifier is the end of `pool`.
    """
    net = member(name, ("mobilenet_v2",), input)
    net.classifier[1] = nn.Identity()
    stages = [*_inverted_residuals(net), Stage("pool", [average_pool, "classifier.0"])]
    return checked(Backbone(net, stages, net.last_channel, name, ignored=["classifier.1"], tail="pool"), input)


def mobilenet_v3(input: ArrayInput, name: str) -> Backbone:
    """MobileNetV3 (Howard et al. 2019): stages `stem, stage1.., lastconv, pool, fc`, features 1024 or 1280.

    The small net has 5 numbered stages, the large one 6. `fc` ends with the published net's dropout.
    """
    net = member(name, ("mobilenet_v3*",), input)
    features = net.classifier[3].in_features
    net.classifier[3] = nn.Identity()
    stages = [
        *_inverted_residuals(net),
        Stage("pool", ["avgpool", flatten]),
        Stage("fc", ["classifier.0", "classifier.1", "classifier.2"]),
    ]
    return checked(Backbone(net, stages, features, name, ignored=["classifier.3"], tail="pool"), input)


def _inverted_residuals(net: nn.Module) -> list[Stage]:
    """All stages of a MobileNet's maps: a new one begins where a block changes their size or number."""
    _, *blocks, _ = net.get_submodule("features").children()
    groups: list[list[str]] = [[]]
    for index, block in enumerate(blocks, start=1):
        if groups[-1] and not block.use_res_connect:
            groups.append([])
        groups[-1].append(f"features.{index}")
    last = f"features.{len(blocks) + 1}"
    return [Stage("stem", ["features.0"]), *numbered("stage", groups), Stage("lastconv", [last])]


def efficientnet(input: ArrayInput, name: str) -> Backbone:
    """EfficientNet (Tan & Le 2019) and EfficientNetV2 (Tan & Le 2021), features 1280 to 2560.

    Stages `stem, stage1..stage7, lastconv, pool`; the small V2 has 6 numbered ones. The published net's dropout before
    its classifier is the end of `pool`.
    """
    net = member(name, ("efficientnet*",), input)
    features = net.classifier[1].in_features
    net.classifier[1] = nn.Identity()
    last = len(net.features) - 1
    stages = [
        Stage("stem", ["features.0"]),
        *numbered("stage", [[f"features.{index}"] for index in range(1, last)]),
        Stage("lastconv", [f"features.{last}"]),
        Stage("pool", ["avgpool", flatten, "classifier.0"]),
    ]
    return checked(Backbone(net, stages, features, name, ignored=["classifier.1"], tail="pool"), input)


def convnext(input: ArrayInput, name: str) -> Backbone:
    """ConvNeXt (Liu et al. 2022): stages `stem, stage1..stage4, pool`, features 768 to 1536.

    A stage begins with the layers that halve its maps; `pool` ends with the LayerNorm of the pooled features.
    """
    net = member(name, ("convnext*",), input)
    features = net.classifier[2].in_features
    net.classifier[2] = nn.Identity()
    groups = [["features.1"], *([f"features.{index}", f"features.{index + 1}"] for index in (2, 4, 6))]
    stages = [
        Stage("stem", ["features.0"]),
        *numbered("stage", groups),
        Stage("pool", ["avgpool", "classifier.0", "classifier.1"]),
    ]
    return checked(Backbone(net, stages, features, name, ignored=["classifier.2"], tail="pool"), input)
