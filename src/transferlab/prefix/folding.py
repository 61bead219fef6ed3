"""Convolutions that do the work of the BatchNorms behind them, while nothing of a net changes."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from transferlab.values import Value, tensors

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_KINDS = (torch.float32, torch.float64)  # of fewer bits, a product of two weights would lose some
_ROUND_OFF = 1e-4  # of the largest number

Forward = Callable[[Tensor], Tensor]


class Folded:
    """A net in which convolutions multiply and shift their channels as the BatchNorms behind them do.

    That is one pass less over a layer's maps, and the same to round-off. Whether it is the same is tried out and not
    assumed: from outside nobody sees who else reads what a convolution gave. The net's weights stay as they are.

    Args:
        net: of whose modules those are left alone that are in training mode.
        passed: has the net look at a few samples in full precision, and gives what it makes of them by name.
    """

    def __init__(self, net: nn.Module, passed: Callable[[], Mapping[str, Value]]) -> None:
        self._forwards: list[tuple[nn.Module, Forward]] = []
        if not any(isinstance(module, _BatchNorm) for module in net.modules()):
            return
        with torch.no_grad():
            with _watched(net) as calls:
                wanted = passed()
            for conv, norm in _followed(calls):
                if (rest := _rest(norm)) is not None:
                    self._forwards += [(conv, fuse_conv_bn_eval(conv, norm).forward), (norm, rest)]
            with self.within():
                same = not self._forwards or _same(passed(), wanted)
        if not same:
            self._forwards = []

    @property
    def norms(self) -> int:
        """How many BatchNorms have nothing left to do."""
        return len(self._forwards) // 2

    @contextmanager
    def within(self) -> Iterator[None]:
        """Within, the net computes so."""
        for module, forward in self._forwards:
            vars(module)["forward"] = forward
        try:
            yield
        finally:
            for module, _ in self._forwards:
                del vars(module)["forward"]


@contextmanager
def _watched(net: nn.Module) -> Iterator[list[tuple[nn.Module, Any]]]:
    """Within, the calls of convolutions and BatchNorms in their order: what the ones gave, what the others took."""
    calls: list[tuple[nn.Module, Any]] = []
    with ExitStack() as hooks:
        for module in net.modules():
            if isinstance(module, _CONVOLUTIONS):
                handle = module.register_forward_hook(lambda conv, _, given: calls.append((conv, given)))
            elif isinstance(module, _BatchNorm):
                handle = module.register_forward_pre_hook(lambda norm, taken: calls.append((norm, taken[0])))
            else:
                continue
            hooks.callback(handle.remove)
        yield calls


def _followed(calls: list[tuple[nn.Module, Any]]) -> Iterator[tuple[Any, Any]]:
    """Convolutions that can be folded, each with the BatchNorm that takes what it gives."""
    times = Counter(module for module, _ in calls)
    for (conv, given), (norm, taken) in itertools.pairwise(calls):
        if given is not taken or not isinstance(conv, _CONVOLUTIONS) or not isinstance(norm, _BatchNorm):
            continue
        alone = times[conv] == times[norm] == 1 and "forward" not in {**vars(conv), **vars(norm)}
        weight = conv._parameters.get("weight")  # one that is made up of others is none of them
        able = weight is not None and weight.dtype in _KINDS and norm.running_mean is not None
        if alone and able and not conv.training and not norm.training:
            yield conv, norm


def _rest(norm: _BatchNorm) -> Forward | None:
    """What is left to do for a BatchNorm whose work is done; None: it is no ordinary one."""
    if type(norm).forward is _BatchNorm.forward:
        return _untouched
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)  # timm's
    return nn.Sequential(drop, act) if isinstance(drop, nn.Module) and isinstance(act, nn.Module) else None


def _untouched(x: Tensor) -> Tensor:
    return x


def _same(found: Mapping[str, Value], wanted: Mapping[str, Value]) -> bool:
    """Whether they are the same to round-off."""
    return all(
        torch.allclose(one.float(), other.float(), rtol=0.0, atol=_ROUND_OFF * float(other.float().abs().max()))
        for name in wanted
        for one, other in zip(tensors(found[name]), tensors(wanted[name]), strict=True)
    )
