"""Whether a chain of stages is the library's net."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.values import Value, each, tensors


def check_chain(backbone: Backbone, reference: Callable[[Any], Any], example: Value) -> None:
    """Check that the chain computes what the library's own net computes, entered at the start and at every boundary.

    Args:
        backbone: on any device, in any mode; its mode is restored.
        reference: the library's own forward up to the features.
        example: a small input of at least two samples.

    Raises:
        RuntimeError: they differ, or what a stage hands on has no influence on the features.
    """
    training = backbone.training
    backbone.eval()
    with torch.no_grad(), _spread_statistics(backbone):
        expected = reference(example)
        features, kept = backbone.observe(example, backbone.stages)
        entered, disturbed = {}, {}
        for before, after in zip(backbone.stages, backbone.stages[1:], strict=False):
            entered[after] = backbone(each(torch.clone, kept[before]), start=after)
            if any(tensor.is_floating_point() for tensor in tensors(kept[before])):
                disturbed[after] = backbone(each(_disturbed, kept[before]), start=after)
    backbone.train(training)
    for place, value in {"the input": features, **entered}.items():
        if not _close(value, expected):
            raise RuntimeError(f"{backbone.name}: the chain of stages, entered at {place}, is not the library's net")
    for place, value in disturbed.items():
        if all(torch.equal(a, b) for a, b in zip(tensors(value), tensors(features), strict=True)):
            raise RuntimeError(f"{backbone.name}: what stage '{place}' is handed has no influence on the features")


def _close(value: Value, expected: Value) -> bool:
    pairs = list(zip(tensors(value), tensors(expected), strict=True))
    return all(torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-5) for a, b in pairs)


def _disturbed(tensor: Tensor) -> Tensor:
    """Other numbers; ids and masks as they are."""
    if not tensor.is_floating_point():
        return tensor
    return tensor + torch.linspace(-1, 1, tensor.numel(), device=tensor.device).reshape(tensor.shape).to(tensor.dtype)


@contextmanager
def _spread_statistics(net: nn.Module) -> Iterator[None]:
    """Give BatchNorm layers telling statistics: fresh ones are nearly the identity, and would hide a wrong order."""
    layers = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None]
    kept = [{name: tensor.clone() for name, tensor in layer.named_buffers()} for layer in layers]
    try:
        for layer in layers:
            for name, low, high in (("running_mean", -0.5, 0.5), ("running_var", 0.5, 1.5)):
                buffer = layer.get_buffer(name)
                buffer.copy_(torch.linspace(low, high, len(buffer)))
        yield
    finally:
        for layer, buffers in zip(layers, kept, strict=True):
            for name, tensor in buffers.items():
                layer.get_buffer(name).copy_(tensor)
