"""A backbone: a library's net, untouched, read as a chain of named stages that can be entered anywhere."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from transferlab.errors import InputError, unknown

Glue: TypeAlias = Callable[[nn.Module, Tensor], Tensor]
"""A named function (net, value) -> value for what is no module of the net, e.g. flatten."""


@dataclass(frozen=True)
class Stage:
    """Consecutive steps of a net under one name.

    Attributes:
        name: e.g. `layer1`.
        steps: dotted paths of modules of the net, or glue functions, in order.
        owns: paths of further modules and parameters that only glue calls.
    """

    name: str
    steps: Sequence[str | Glue]
    owns: Sequence[str] = ()

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Every path of the net that is this stage's."""
        return (*(step for step in self.steps if isinstance(step, str)), *self.owns)


class Backbone(nn.Module):
    """A feature extractor: an ordered mapping of named stages.

    Its state-dict keys are the library's under the prefix `net.`, so published checkpoints load.

    Args:
        net: the library's net, its classifier replaced by `nn.Identity` or left out of the chain.
        stages: in order from input to features.
        features: length of the feature vector that the last stage gives, (B, features).
        name: the net's name in its library.
        ignored: paths of the published net that are no part of the backbone, i.e. its classifier.

    Raises:
        ValueError: a parameter, buffer or leaf module belongs to no stage, or a prefix matches nothing.
    """

    def __init__(
        self, net: nn.Module, stages: Sequence[Stage], features: int, name: str, ignored: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.net = net
        self.features = features
        self.name = name
        self.ignored = tuple(ignored)
        self._chain = {stage.name: stage for stage in stages}
        self._owner = _owners(net, stages, ignored)
        self._frozen_modules: list[nn.Module] = []
        self._live_batchnorm = False

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of all stages, from input to features."""
        return tuple(self._chain)

    @property
    def parametric(self) -> tuple[str, ...]:
        """Names of the stages that have parameters: those a freezing schedule knows."""
        owning = {self._owner[name] for name, _ in self.net.named_parameters() if name in self._owner}
        return tuple(name for name in self._chain if name in owning)

    def stage_parameters(self, stage: str) -> list[nn.Parameter]:
        """The parameters of one stage, in the net's order."""
        return [p for name, p in self.net.named_parameters() if self._owner.get(name) == stage]

    def batchnorm_parameters(self, stage: str) -> list[nn.Parameter]:
        """Scale and shift of the BatchNorm layers of one stage."""
        layers = self._batchnorm_prefixes()
        named = self.net.named_parameters()
        return [p for name, p in named if self._owner.get(name) == stage and name.rpartition(".")[0] in layers]

    def forward(self, x: Tensor, start: str | None = None, stop: str | None = None) -> Tensor:
        """Run the chain, or the slice from the stage `start` up to but without the stage `stop`.

        Args:
            x: the input (B, C, H, W) or (B, D); with `start`, what that stage takes.
            start: the first stage to run; None: the first of all.
            stop: the stage before which to halt; None: run to the features (B, features).

        Raises:
            InputError: no such stage.
        """
        return self.observe(x, (), start, stop)[0]

    def observe(
        self, x: Tensor, keep: Collection[str], start: str | None = None, stop: str | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`forward`, with the outputs of the stages named in `keep`, and of no others."""
        first, end = self._position(start, 0), self._position(stop, len(self._chain))
        if first > end:
            raise InputError(f"start='{start}' lies behind stop='{stop}'")
        names = self.stages[first:end]
        if missing := set(keep) - set(self.stages):
            raise unknown("stage", min(missing), self.stages)
        kept: dict[str, Tensor] = {}
        for name in names:
            for step in self._chain[name].steps:
                x = self.net.get_submodule(step)(x) if isinstance(step, str) else step(self.net, x)
            if name in keep:
                kept[name] = x
        return x, kept

    def set_trainable(self, stages: Iterable[str], frozen_batchnorm: str = "still") -> None:
        """Train these stages and truly freeze the others: no gradients *and* evaluation mode.

        A stage without parameters trains only if it is named here.

        Args:
            stages: names of stages.
            frozen_batchnorm: `still`, or `trains`: BatchNorm layers of frozen stages go on training, statistics and
                affine parameters alike.

        Raises:
            InputError: no such stage.
        """
        names = set(stages)
        if missing := names - set(self.stages):
            raise unknown("stage", min(missing), self.stages)
        self._frozen_modules = [m for path, m in self.net.named_modules() if self._stage_of(path) not in (None, *names)]
        self._live_batchnorm = frozen_batchnorm == "trains"
        batchnorm = self._batchnorm_prefixes() if self._live_batchnorm else ()
        for name, parameter in self.net.named_parameters():
            live = self._owner.get(name) in names or name.rpartition(".")[0] in batchnorm
            parameter.requires_grad_(live)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; frozen stages stay in evaluation mode, their BatchNorm statistics and dropout still."""
        super().train(mode)
        if mode:
            for module in self._frozen_modules:
                # not module.train(), which would reach into a stage that is named inside this one
                module.training = self._live_batchnorm and isinstance(module, nn.modules.batchnorm._BatchNorm)
        return self

    def _stage_of(self, path: str) -> str | None:
        """The stage of a module, containers included."""
        prefixes = {prefix: stage.name for stage in self._chain.values() for prefix in stage.prefixes}
        return _longest(path, prefixes)

    def _batchnorm_prefixes(self) -> set[str]:
        return {name for name, m in self.net.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}

    def _position(self, stage: str | None, default: int) -> int:
        if stage is None:
            return default
        if stage not in self._chain:
            raise unknown("stage", stage, self.stages)
        return self.stages.index(stage)


def check_chain(backbone: Backbone, reference: Callable[[Tensor], Tensor], example: Tensor) -> None:
    """Check that the chain computes what the library's own net computes, entered at the start and at every boundary.

    Args:
        backbone: on any device, in any mode; its mode is restored.
        reference: the library's own forward up to the features.
        example: a small input, (2, ...).

    Raises:
        RuntimeError: they differ.
    """
    training = backbone.training
    backbone.eval()
    with torch.no_grad(), _spread_statistics(backbone):
        expected = reference(example)
        features, kept = backbone.observe(example, backbone.stages)
        entered = {
            after: backbone(kept[before].clone(), start=after)
            for before, after in zip(backbone.stages, backbone.stages[1:], strict=False)
        }
    backbone.train(training)
    for place, value in {"the input": features, **entered}.items():
        if not torch.allclose(value, expected, rtol=1e-4, atol=1e-5):
            raise RuntimeError(f"{backbone.name}: the chain of stages, entered at {place}, is not the library's net")


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


def _longest(path: str, prefixes: Mapping[str, str]) -> str | None:
    """What the longest prefix of a dotted path stands for."""
    matching = [prefix for prefix in prefixes if path == prefix or path.startswith(f"{prefix}.")]
    return prefixes[max(matching, key=len)] if matching else None


def _owners(net: nn.Module, stages: Sequence[Stage], ignored: Sequence[str]) -> Mapping[str, str]:
    """The stage of every parameter, buffer and leaf module, by its path: the stage with the longest matching prefix."""
    names = [stage.name for stage in stages]
    claims = [prefix for stage in stages for prefix in stage.prefixes]
    if twice := {name for name in (*names, *claims) if max(names.count(name), claims.count(name)) > 1}:
        raise ValueError(f"these stages or paths are named twice: {', '.join(sorted(twice))}")
    prefixes = {prefix: stage.name for stage in stages for prefix in stage.prefixes}
    leaves = [name for name, module in net.named_modules() if name and not list(module.children())]
    tensors = [name for name, _ in (*net.named_parameters(), *net.named_buffers())]
    paths = list(dict.fromkeys([*tensors, *leaves]))
    owners = {path: stage for path in paths if (stage := _longest(path, prefixes)) is not None}
    left_out = {prefix: prefix for prefix in ignored}
    if orphans := [path for path in paths if path not in owners and _longest(path, left_out) is None]:
        raise ValueError(f"these parts of the net belong to no stage: {', '.join(orphans)}")
    if unused := {prefix for prefix in prefixes if not any(_longest(path, {prefix: ""}) is not None for path in paths)}:
        raise ValueError(f"these paths of stages name nothing in the net: {', '.join(sorted(unused))}")
    return owners
