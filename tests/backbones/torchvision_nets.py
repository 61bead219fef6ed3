"""torchvision's own nets beside our backbones: what the tests of its families share."""

import torch
import torchvision
from torch import nn

from transferlab.backbones import torchvision as families
from transferlab.inputs.arrays import ArrayInput

INPUT = ArrayInput.of(3, 64, 64)
FAMILIES = {
    "resnet": families.resnet,
    "resnext": families.resnet,
    "wide_resnet": families.resnet,
    "regnet": families.regnet,
    "densenet": families.densenet,
    "mobilenet_v2": families.mobilenet_v2,
    "mobilenet_v3": families.mobilenet_v3,
    "efficientnet": families.efficientnet,
    "convnext": families.convnext,
    "vit": families.vit,
    "swin": families.swin,
}


def numbered(word, ends, start=1):
    return {f"{word}{number}": end for number, end in enumerate(ends, start)}


RESNET = {"stem": "maxpool", **numbered("layer", [f"layer{number}" for number in range(1, 5)])}
REGNET = {"stem": "stem", **numbered("block", [f"trunk_output.block{number}" for number in range(1, 5)])}
VIT = {
    "patches": "encoder.dropout",
    **numbered("block", [f"encoder.layers.encoder_layer_{number}" for number in range(11)], start=0),
    "block11": "encoder.ln",
}


def pyramid(first, last="features.7"):
    return {first: "features.0", **numbered("stage", ["features.1", "features.3", "features.5", last])}


def features(ends, lastconv):
    return {"stem": "features.0", **numbered("stage", [f"features.{end}" for end in ends]), "lastconv": lastconv}


# The module with which torchvision's own forward ends a stage; where there is none a stage is left out, and what comes
# behind it tells. Blocks and widths are those of the papers' tables.
ENDS = {
    "resnet18": RESNET,
    "resnet50": RESNET,
    "resnext50_32x4d": RESNET,
    "regnet_x_400mf": REGNET,
    "regnet_y_400mf": REGNET,
    "vgg11_bn": {**numbered("block", [f"features.{end}" for end in (3, 7, 14, 21, 28)]), "fc6": "classifier.2"},
    "densenet121": {
        "stem": "features.pool0",
        **numbered("block", [f"features.denseblock{number}" for number in range(1, 4)]),
    },
    "mobilenet_v2": features([1, 3, 6, 10, 13, 16, 17], "features.18"),
    "mobilenet_v3_small": features([1, 3, 6, 8, 11], "features.12"),
    "mobilenet_v3_large": features([1, 3, 6, 10, 12, 15], "features.16"),
    "efficientnet_b0": features(range(1, 8), "features.8"),
    "efficientnet_v2_s": features(range(1, 7), "features.7"),
    "convnext_tiny": pyramid("stem"),
    "vit_b_32": VIT,
    "vit_b_16": VIT,
    "swin_t": pyramid("patches", "norm"),
    "swin_v2_t": pyramid("patches", "norm"),
}


def build(name, input=INPUT, pooling="classifier"):
    """A backbone with telling weights: fresh ones have layers that do nothing, which would hide a wrong order."""
    torch.manual_seed(0)
    if name.startswith("vgg"):
        return spread(families.vgg(input, name, pooling))
    (family,) = [builder for word, builder in FAMILIES.items() if name.startswith(word)]
    return spread(family(input, name))


def spread(net):
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if tensor.ndim == 1 or name.endswith(("layer_scale", "class_token")):
            low, high = (0.5, 1.5) if name.endswith(("weight", "running_var", "layer_scale")) else (-0.2, 0.2)
            if tensor.is_floating_point():
                nn.init.uniform_(tensor, low, high)
    return net


def last_linear(net):
    """The path of the layer that gives the 1000 classes."""
    return [name for name, module in net.named_modules() if isinstance(module, nn.Linear)][-1]


def library_of(backbone, side=64):
    """torchvision's whole net with the backbone's weights, whose keys must be the same, and a last layer of its own."""
    size = {"image_size": side} if backbone.name.startswith("vit") else {}
    # RegNets compute their widths with tensors, which must hold something
    with torch.device("cpu" if backbone.name.startswith("regnet") else "meta"):
        net = torchvision.models.get_model(backbone.name, weights=None, **size)
    last = last_linear(net)
    new = nn.Linear(backbone.features, 1000)
    state = {key: value.clone() for key, value in backbone.net.state_dict().items()}
    net.load_state_dict(state | {f"{last}.{key}": value for key, value in new.state_dict().items()}, assign=True)
    return net


def passed(library, name, x):
    """The stages' outputs in torchvision's own forward, what its last layer takes, and what that gives."""
    found = {}

    def note(stage):
        return lambda module, inputs, output: found.__setitem__(stage, output.clone())

    last = library.get_submodule(last_linear(library))
    hooks = [library.get_submodule(end).register_forward_hook(note(stage)) for stage, end in ENDS[name].items()]
    hooks.append(last.register_forward_pre_hook(lambda module, inputs: found.__setitem__("features", inputs[0])))
    output = library(x)
    for hook in hooks:
        hook.remove()
    return found, output
