"""A backbone: a library's net, untouched, read as a chain of named stages that can be entered and frozen anywhere."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferlab.backbones.chain import through
from transferlab.backbones.stages import Glue, Stage, owner, owners
from transferlab.errors import InputError, unknown
from transferlab.values import Entered, Value, samples


class Backbone(nn.Module):
    """A feature extractor: an ordered mapping of named stages.

    Its state-dict keys are the library's under the prefix `net.`, so published checkpoints load.

    Args:
        net: the library's net, its classifier replaced by `nn.Identity` or left out of the chain.
        stages: in order from input to features.
        features: length of the feature vector that the last stage gives, (B, features).
        name: the net's name in its library.
        ignored: paths of the published net that are no part of the backbone, i.e. its classifier.
        tail: the stage from which on maps or sequences are pooled to one vector; None: there is no such stage.
        grid: glue that makes maps (B, C, H, W) of what a stage before the tail gives; None: they are maps already.

    Raises:
        ValueError: a parameter, buffer or leaf module belongs to no stage, or a prefix matches nothing.
    """

    def __init__(
        self,
        net: nn.Module,
        stages: Sequence[Stage],
        features: int,
        name: str,
        ignored: Sequence[str] = (),
        tail: str | None = None,
        grid: Glue | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.features = features
        self.name = name
        self.ignored = tuple(ignored)
        self.tail = tail
        self._grid = grid
        self._chain = {stage.name: stage for stage in stages}
        self._read()
        self._frozen_modules: list[nn.Module] = []
        self._live_batchnorm = False
        self._only: frozenset[str] | None = None
        self._live: frozenset[str] = frozenset()
        self.passed = 0
        """Forward operations so far that batches had behind them when they entered the net."""
        self.origin: str | None = None
        """Where its weights were read from, for a head that has some there too; None: they are random."""
        self.added: frozenset[str] = frozenset()
        """Paths in the net of parameters that no source has: those of an adapter."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of all stages, from input to features."""
        return tuple(self._chain)

    @property
    def inside(self) -> tuple[nn.Module, ...]:
        """Every module of the net, looked up once: to go through hundreds of them takes longer than a head's step."""
        return self._inside

    @property
    def parametric(self) -> tuple[str, ...]:
        """Names of the stages that have parameters: those a freezing schedule knows."""
        return tuple(self.owned)

    @property
    def owned(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each stage that has any, in the net's order."""
        found: dict[str, list[nn.Parameter]] = {name: [] for name in self._chain}
        for path, parameter in self.net.named_parameters():
            if path in self._owner:
                found[self._owner[path]].append(parameter)
        return {name: parameters for name, parameters in found.items() if parameters}

    def stage(self, name: str) -> Stage:
        """One stage, as it is now."""
        return self._chain[name]

    def paths(self, stage: str) -> tuple[str, ...]:
        """Every path of the net that is a stage's, for a net that contains this one."""
        return self._chain[stage].prefixes

    def stage_of(self, path: str) -> str | None:
        """The stage of a module, containers included."""
        return owner(path, self._prefixes)

    def stage_parameters(self, stage: str) -> list[nn.Parameter]:
        """The parameters of one stage, in the net's order."""
        return self.owned.get(stage, [])

    def stage_tensors(self, stage: str) -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers of one stage by path, in the net's order."""
        for path, tensor in (*self.net.named_parameters(), *self.net.named_buffers()):
            if self._owner.get(path) == stage:
                yield path, tensor

    def alter(self, stages: Iterable[Stage] = ()) -> None:
        """Read the net again after parts were put into it or taken out.

        Args:
            stages: take the place of those of the same names.
        """
        self._chain |= {stage.name: stage for stage in stages}
        self._read()

    def cut(self) -> None:
        """End the chain before its tail, so that it gives maps or sequences; what is cut off leaves the net for good.

        Raises:
            InputError: the backbone has no tail to cut.
        """
        if self.tail is None:
            raise InputError(f"backbone '{self.name}' gives one vector a sample, the task needs maps or sequences")
        self._chain = {name: self._chain[name] for name in self.stages[: self.stages.index(self.tail)]}
        dropped = {path for path, stage in self._owner.items() if stage not in self._chain}
        # a tensor of a module that goes goes with it
        gone = sorted(path for path in dropped if path.rpartition(".")[0] not in dropped)
        for path in gone:
            _remove(self.net, path)
        self.ignored, self.tail = (*self.ignored, *gone), None
        self._read()

    def maps(self, value: Any) -> Tensor:
        """What a stage before the tail gave, as maps (B, C, H, W).

        Raises:
            InputError: it gave none, as a net for sequences does.
        """
        found = value if self._grid is None else self._grid(self.net, value)
        if not isinstance(found, Tensor) or found.ndim != 4:
            raise InputError(f"backbone '{self.name}' gives no maps, which the task needs: choose one for images")
        return found

    def forward(self, x: Value | Entered, start: str | None = None, stop: str | None = None) -> Any:
        """Run the chain, or the slice from the stage `start` up to but without the stage `stop`.

        Args:
            x: the input, (B, C, H, W), (B, D) or a sequence; with `start`, what that stage takes; a batch that has
                entered the net already says itself where it goes on.
            start: the first stage to run; None: the first of all.
            stop: the stage before which to halt; None: run to the features (B, features).

        Raises:
            InputError: no such stage.
        """
        return self.observe(x, (), start, stop)[0]

    def observe(
        self, x: Value | Entered, keep: Collection[str], start: str | None = None, stop: str | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """`forward`, with the outputs of the stages named in `keep`, and of no others."""
        if isinstance(x, Entered):
            self.passed += int(x.flops * samples(x.value))
        return through(self.net, self._chain, x, keep, start, stop)

    def limit(self, parameters: Collection[str], modules: Collection[str]) -> None:
        """From now on nothing but these trains of a stage that trains; the rest of it is as frozen as frozen stages.

        Args:
            parameters: paths in the net.
            modules: paths in the net, of those that are in training mode.
        """
        self._only, self._live = frozenset(parameters), frozenset(modules)

    def changing(self, frozen_batchnorm: str = "still") -> frozenset[str]:
        """Which tensors training can change, whatever stages it trains; keys of the net's state dict.

        Args:
            frozen_batchnorm: as for `set_trainable`.
        """
        keys = self.net.state_dict().keys()
        if self._only is None:
            return frozenset(keys)
        live = self._live | (self._batchnorm_prefixes() if frozen_batchnorm == "trains" else set())
        return frozenset(key for key in keys if key in self._only or key.rpartition(".")[0] in live)

    def trains(self, stage: str, frozen_batchnorm: str = "still") -> bool:
        """Whether anything trains of a stage that trains."""
        changing = self.changing(frozen_batchnorm)
        return any(name in changing and self._owner.get(name) == stage for name, _ in self.net.named_parameters())

    def batchnorm_parameters(self, stage: str) -> list[nn.Parameter]:
        """Scale and shift of the BatchNorm layers of one stage."""
        layers = self._batchnorm_prefixes()
        named = self.net.named_parameters()
        return [p for name, p in named if self._owner.get(name) == stage and name.rpartition(".")[0] in layers]

    def set_trainable(self, stages: Iterable[str], frozen_batchnorm: str = "still") -> None:
        """Train these stages and truly freeze the others: no gradients *and* evaluation mode.

        A stage without parameters trains only if it is named here, and of a stage what `limit` left of it.

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
        self._frozen_modules = [module for path, module in self.net.named_modules() if self._stays(path, names)]
        self._live_batchnorm = frozen_batchnorm == "trains"
        batchnorm = self._batchnorm_prefixes() if self._live_batchnorm else ()
        for name, parameter in self.net.named_parameters():
            allowed = self._only is None or name in self._only
            live = self._owner.get(name) in names and allowed
            parameter.requires_grad_(live or name.rpartition(".")[0] in batchnorm)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; frozen stages stay in evaluation mode, their BatchNorm statistics and dropout still."""
        super().train(mode)
        if mode:
            for module in self._frozen_modules:
                # not module.train(), which would reach into a stage that is named inside this one
                module.training = self._live_batchnorm and isinstance(module, _BatchNorm)
        return self

    def still(self) -> int:
        """How many of the first stages do nothing but compute, as `set_trainable` left them.

        Nothing of them trains, and no BatchNorm or dropout is live in them even while the net is in training mode.
        """
        frozen = {id(module) for module in self._frozen_modules}
        live = [
            path
            for path, module in self.net.named_modules()
            if id(module) not in frozen or (self._live_batchnorm and isinstance(module, _BatchNorm))
        ]
        live += [name for name, parameter in self.net.named_parameters() if parameter.requires_grad]
        stages = {stage for path in live if (stage := self.stage_of(path)) is not None}
        return next((n for n, name in enumerate(self._chain) if name in stages), len(self._chain))

    def _read(self) -> None:
        """Find the stage of everything in the net."""
        stages = list(self._chain.values())
        self._owner = owners(self.net, stages, self.ignored)
        self._prefixes = {prefix: stage.name for stage in stages for prefix in stage.prefixes}
        self._inside = tuple(self.net.modules())

    def _stays(self, path: str, trained: Collection[str]) -> bool:
        """Whether a module is in evaluation mode while these stages train."""
        stage = self.stage_of(path)
        return stage is not None and (stage not in trained or (self._only is not None and path not in self._live))

    def _batchnorm_prefixes(self) -> set[str]:
        return {name for name, m in self.net.named_modules() if isinstance(m, _BatchNorm)}


def _remove(net: nn.Module, path: str) -> None:
    """Take a module or parameter out of a net; a container keeps its place with nothing in it."""
    parent, _, leaf = path.rpartition(".")
    holder = net.get_submodule(parent)
    setattr(holder, leaf, nn.Identity() if leaf in holder._modules else None)
