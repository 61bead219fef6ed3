"""Residual adapters: banks of 1 x 1 filters behind or beside convolutions."""

import copy
from collections.abc import Sequence
from typing import ClassVar, Literal, TypeGuard

import torch
from torch import Tensor, nn

from transferlab.adapters.base import Adapter
from transferlab.adapters.chosen import norms_in
from transferlab.adapters.places import in_stages, layers
from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.values import Value


class _Bank(nn.Module):
    """A convolution y = W x with a bank of 1 x 1 filters alpha, 0 at the start."""

    def __init__(self, conv: nn.Conv2d, inputs: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.conv = conv
        self.alpha = nn.Conv2d(inputs, conv.out_channels, 1, (stride[0], stride[1]), bias=False)
        nn.init.zeros_(self.alpha.weight)

    @property
    def weight(self) -> Tensor:
        """The convolution's, of which transformers' patch embeddings read the type before they call it."""
        return self.conv.weight

    @property
    def matrix(self) -> Tensor:
        """Alpha without its two dimensions of size 1, (outputs, inputs)."""
        return self.alpha.weight[:, :, 0, 0]

    def merged(self) -> nn.Conv2d:
        """The convolution alone, changed so that it does the same."""
        raise NotImplementedError


class Series(_Bank):
    """`y + alpha * y` of the convolution's y, maps (B, O, H, W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv, conv.out_channels, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Of the convolution's input."""
        y = self.conv(x)
        found: Tensor = y + self.alpha(y)
        return found

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """The convolution by (I + alpha) W and (I + alpha) b."""
        self.conv.weight += torch.einsum("op,pihw->oihw", self.matrix, self.conv.weight)
        if self.conv.bias is not None:
            self.conv.bias += self.matrix @ self.conv.bias
        return self.conv


class Parallel(_Bank):
    """`W * x + alpha * x`, alpha with the convolution's stride, of maps x (B, I, H, W)."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv, conv.in_channels, conv.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Of the convolution's input."""
        found: Tensor = self.conv(x) + self.alpha(x)
        return found

    @torch.no_grad()
    def merged(self) -> nn.Conv2d:
        """The convolution with alpha added at the middle of its kernel."""
        height, width = self.conv.kernel_size
        self.conv.weight[:, :, height // 2, width // 2] += self.matrix
        return self.conv


_FORMS: dict[str, type[Series] | type[Parallel]] = {"series": Series, "parallel": Parallel}


class ResidualAdapter(Adapter):
    """A bank of 1 x 1 filters with each convolution, and norms of the target's own.

    In series `y + alpha * y` of the convolution's output y: Rebuffi, Bilen & Vedaldi 2017, "Learning multiple visual
    domains with residual adapters" (NeurIPS). In parallel `W * x + alpha * x` of its input x: Rebuffi, Bilen
    & Vedaldi 2018, "Efficient parametrization of multi-domain deep neural networks" (CVPR). Convolutions are those of
    one group with a kernel above 1; in parallel those that are centred, an odd kernel padded by half of it.

    Args:
        form: `series` or `parallel`.
        norms: whether scales and shifts of norms in these stages train too, and BatchNorm's statistics follow.
        modules: patterns of paths in the net.
        stages: names, patterns or positions; None: all.
        save: `alone` or `merged`.

    Raises:
        InputError: another word.
    """

    merges: ClassVar[bool] = True
    linear: ClassVar[bool] = True

    def __init__(
        self,
        form: Literal["series", "parallel"],
        norms: bool,
        modules: Sequence[str],
        stages: Sequence[str | int] | None,
        save: Literal["alone", "merged"],
    ) -> None:
        super().__init__(save)
        if form not in _FORMS:
            raise InputError(f"strategy.adapter.form={form}: 'series' or 'parallel'")
        self.form, self.norms, self.modules, self.stages = form, norms, modules, stages
        self._scales: frozenset[str] = frozenset()
        self._live: frozenset[int] = frozenset()

    def put(self, backbone: Backbone, example: Value) -> None:
        """Put a bank with each convolution.

        Raises:
            InputError: there is no such convolution, or one that cannot be merged where `save` wants it.
        """
        self._scales, self._live = norms_in(backbone, in_stages(backbone, self.stages))
        for path, conv in self._convolutions(backbone, example).items():
            bank = _FORMS[self.form](conv).to(conv.weight.device, conv.weight.dtype)
            if self.save == "merged" and not _merges(bank):
                raise InputError(
                    f"strategy.adapter.save=merged: {path} of backbone '{backbone.name}' is a {type(conv).__name__}, "
                    f"whose weight cannot take up a bank in {self.form}: set strategy.adapter.save=alone, or "
                    "strategy.adapter.modules without it"
                )
            backbone.net.set_submodule(path, bank)
        backbone.alter()

    def _convolutions(self, backbone: Backbone, example: Value) -> dict[str, nn.Conv2d]:
        if not any(self._fits(module) for module in backbone.net.modules()):
            other = "set form=series, or " if any(_spans(module) for module in backbone.net.modules()) else ""
            raise InputError(
                f"strategy.adapter.form={self.form}: backbone '{backbone.name}' has no {self._what}: {other}choose a "
                "convolutional net, or strategy=adapter or lora"
            )
        found = layers(backbone, example, (nn.Conv2d,), self.stages, self.modules)
        fitting = {path: m for path, m in found.items() if isinstance(m, nn.Conv2d) and self._fits(m)}
        if not fitting:
            raise InputError(
                f"strategy.adapter.modules={list(self.modules)}: of the convolutions that this and strategy.adapter."
                f"stages choose in backbone '{backbone.name}', e.g. {', '.join(list(found)[:5])}, none is a "
                f"{self._what}"
            )
        return fitting

    @property
    def _what(self) -> str:
        centred = ", odd and padded by half of it" if self.form == "parallel" else ""
        return f"convolution of two dimensions and one group with a kernel above 1{centred}"

    def _fits(self, module: nn.Module) -> bool:
        return _spans(module) and (self.form == "series" or _is_centred(module))

    def chooses(self, net: nn.Module, name: str) -> bool:
        """The norms' own."""
        return self.norms and name in self._scales

    def enlivens(self, module: nn.Module) -> bool:
        """BatchNorm normalises by the batch, as in training."""
        return self.norms and id(module) in self._live

    def merge(self, backbone: Backbone) -> None:
        """Put the banks into their convolutions."""
        for path, bank in [(path, m) for path, m in backbone.net.named_modules() if isinstance(m, _Bank)]:
            backbone.net.set_submodule(path, bank.merged())
        backbone.alter()


def _spans(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a convolution over more than a pixel, of one group."""
    return isinstance(module, nn.Conv2d) and module.groups == 1 and max(module.kernel_size) > 1


def _is_centred(conv: nn.Conv2d) -> bool:
    """Whether the kernel's middle lies where a 1 x 1 kernel of the same stride would."""
    if any(size % 2 == 0 for size in conv.kernel_size):
        return False
    if isinstance(conv.padding, str):
        return conv.padding == "same"
    halves = [rate * (size // 2) for size, rate in zip(conv.kernel_size, conv.dilation, strict=True)]
    return list(conv.padding) == halves


@torch.no_grad()
def _merges(bank: _Bank) -> bool:
    """Whether the merged convolution does the same, tried on numbers; libraries have some that change their weights."""
    generator = torch.Generator().manual_seed(0)
    tried = copy.deepcopy(bank).cpu().double()
    tried.alpha.weight.normal_(generator=generator)
    reach = [2 * rate * size for size, rate in zip(bank.conv.kernel_size, bank.conv.dilation, strict=True)]
    x = torch.randn(2, bank.conv.in_channels, *reach, generator=generator, dtype=torch.float64)
    expected = tried(x)
    return torch.allclose(tried.merged()(x), expected, rtol=1e-6, atol=1e-9)
