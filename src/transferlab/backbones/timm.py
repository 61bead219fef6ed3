"""Any net of timm by its name there: the chain of its modules is found by watching one forward pass."""

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.backbones.checking import check_chain
from transferlab.backbones.stages import Glue, Stage
from transferlab.backbones.tracing import NoChain, chained, watched
from transferlab.errors import InputError, nearest, unknown
from transferlab.inputs.arrays import ArrayInput


def named(input: ArrayInput, name: str) -> Backbone:
    """A net of timm (Wightman 2019, https://github.com/huggingface/pytorch-image-models), its classifier left out.

    Stages are `stem`, then each block, layer or stage of the net under its name there without dots (`blocks.0` is
    `block0`), then `pool`, which is all that timm does between the last map or tokens and its classifier.

    Args:
        input: `shape` (C, H, W); channels and, where the net's size is fixed when it is built, size are passed to timm.
        name: as `timm.list_models()` has it; with a tag, `timm:DEFAULT` loads the weights of that tag.

    Raises:
        InputError: timm is not installed, it has no such net, the input does not fit the net, or the net's
            `forward_features` is no chain of modules.
    """
    if len(input.shape) != 3:
        raise InputError(f"backbone.input.shape={list(input.shape)}: {name} takes [channels, height, width]")
    try:
        return _as_chain(_created(name, input.shape), name, input)
    except NoChain as error:
        raise InputError(f"backbone.name={name}: {error}, so it is no chain of stages; choose another net") from error
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:  # what timm and torch say to a wrong size
        reason = " ".join(str(error).split()) or "the net does not take images of this size"
        raise InputError(f"backbone.name={name} backbone.input.shape={list(input.shape)}: {reason}") from error


def pretrained(backbone: Backbone, tag: str) -> dict[str, Tensor]:
    """The published weights of a net of timm, fitted by timm to its channels and image size.

    Args:
        backbone: of `named`.
        tag: one of the net's tags, e.g. `in1k`, or `DEFAULT`.

    Raises:
        InputError: timm publishes none for it under this tag, or they cannot be downloaded.
    """
    library = _library()
    config = getattr(backbone.net, "pretrained_cfg", None)
    if config is None:
        raise InputError(
            f"source.weights=timm:{tag}: backbone '{backbone.name}' is no net of timm; choose "
            f"backbone=timm backbone.name={backbone.name if library.is_model(backbone.name) else '...'}"
        )
    architecture = backbone.name.partition(".")[0]
    tags = [published.partition(".")[2] for published in library.list_pretrained(f"{architecture}.*")]
    if not tags or tag not in ("DEFAULT", *tags):
        raise unknown(f"tag of timm's weights for {architecture}", tag, tags)
    origin = backbone.name if tag == "DEFAULT" else f"{architecture}.{tag}"
    try:
        state: dict[str, Tensor] = _created(origin, config["input_size"], pretrained=True).state_dict()
    except Exception as error:  # the hub's client raises nearly anything
        raise InputError(
            f"source.weights=timm:{tag}: the weights of {origin} cannot be had ({type(error).__name__}: {error}); "
            "connect to the network, or download the file and choose source=checkpoint source.weights=FILE"
        ) from error
    return state


def _library() -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError("the backbone is one of timm, which is missing: pip install transferlab[timm]") from error
    return timm


def _created(name: str, shape: Sequence[int], pretrained: bool = False) -> Any:
    timm = _library()
    if not timm.is_model(name):
        names = timm.list_models()
        near = nearest(name, names)
        raise InputError(f"backbone.name={name}: timm has no such net{near} (timm.list_models() has {len(names)})")
    settings: dict[str, Any] = {"pretrained": pretrained, "in_chans": shape[0]}
    if not pretrained:
        settings["num_classes"] = 0
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        settings["img_size"] = tuple(shape[1:])
    try:  # ViTs whose positions follow the image, which are the same at the image's own size, take small examples too
        net = timm.create_model(name, **settings, dynamic_img_size=True, dynamic_img_pad=True)
    except TypeError:  # other nets know no such setting
        net = timm.create_model(name, **settings)
    net.pretrained_cfg = {**net.pretrained_cfg, "input_size": tuple(shape)}  # what `pretrained` fits weights to
    return net


def _example(net: Any, input: ArrayInput) -> Tensor:
    """Two inputs, small ones where the net takes them."""
    small = input.small(2)
    try:
        net(small)
    except (AssertionError, RuntimeError, ValueError):  # its size is fixed, or it takes large images alone
        return input.example(2)
    return small


def _as_chain(net: Any, name: str, input: ArrayInput) -> Backbone:
    net.eval()
    with torch.no_grad():
        example = _example(net, input)
        calls, maps = watched(net, net.forward_features, example)
        features = net.forward_head(maps, pre_logits=True)
    chain = chained(calls, example, maps, _GLUE if hasattr(net, "_pos_embed") else {})
    stages = [*_grouped(net, chain), Stage("pool", [_pooled])]
    if len(stages) == 2 or features.ndim != 2:
        raise NoChain("it is one module, or gives no vector a sample")
    ignored = _classifiers(net)
    stages = _owning(net, stages, ignored)
    backbone = Backbone(net.train(), stages, features.shape[1], name, ignored=ignored, tail="pool", grid=_grid)
    check_chain(backbone, lambda x: net.forward_head(net.forward_features(x), pre_logits=True), example)
    return backbone


def _grouped(net: Any, chain: Sequence[str | Glue]) -> list[Stage]:
    """Stages, each from a module with a matrix or kernel up to the next; norms and activations end the one before."""
    groups: list[list[str | Glue]] = [[]]
    for step in chain:
        if groups[-1] and isinstance(step, str) and _has_matrix(net.get_submodule(step)):
            groups.append([])
        groups[-1].append(step)
    stem, *others = groups
    return [Stage("stem", stem), *(Stage(_stage_name(str(steps[0])), steps) for steps in others)]


def _has_matrix(module: nn.Module) -> bool:
    return any(sum(size > 1 for size in parameter.shape) > 1 for parameter in module.parameters())


def _stage_name(path: str) -> str:
    """`blocks.3` is block3, `features.denseblock1` is denseblock1, `layer1` is layer1."""
    container, _, leaf = path.rpartition(".")
    return f"{container.removesuffix('s')}{leaf}" if leaf.isdigit() else leaf


def _owning(net: Any, stages: Sequence[Stage], ignored: Sequence[str]) -> list[Stage]:
    """The stages with what only glue calls: tokens and positions are the stem's, the rest the pool's."""
    claimed = {prefix.partition(".")[0] for stage in stages for prefix in stage.prefixes}
    bridged = [name for name in _GLUE if name in dict(net.named_children()) and name not in claimed]
    tokens = [name for name, _ in (*net.named_parameters(recurse=False), *net.named_buffers(recurse=False))]
    rest = [name for name, _ in net.named_children() if name not in (*claimed, *bridged, *ignored)]
    stem, *others, pool = stages
    return [Stage(stem.name, stem.steps, [*tokens, *bridged]), *others, Stage(pool.name, pool.steps, rest)]


def _classifiers(net: Any) -> list[str]:
    paths = net.pretrained_cfg["classifier"]
    return [paths] if isinstance(paths, str) else list(paths or ())


def _positions(net: Any, x: Tensor) -> Tensor:
    """Class token and position embeddings of ViTs, up to and with the dropout behind them."""
    embedded: Tensor = net._pos_embed(x)
    return embedded


def _pooled(net: Any, x: Tensor) -> Tensor:
    features: Tensor = net.forward_head(x, pre_logits=True)
    return features


def _grid(net: Any, x: Tensor) -> Tensor:
    """Maps (B, C, H, W) of tokens (B, N, C), prefix tokens left out, or of maps with channels last."""
    if x.ndim == 3:
        patches = x[:, getattr(net, "num_prefix_tokens", 0) :]
        embed = net.patch_embed if hasattr(net, "patch_embed") else net.stem
        height, width = getattr(embed, "grid_size", None) or (0, 0)
        if height * width != patches.shape[1]:  # the image is smaller than the net's own, and square
            height = width = isqrt(patches.shape[1])
        return patches.mT.reshape(len(x), -1, height, width)
    return x.permute(0, 3, 1, 2) if getattr(net, "output_fmt", "NCHW") == "NHWC" else x


_GLUE: Mapping[str, Glue] = {"pos_drop": _positions}
