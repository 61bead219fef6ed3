"""Prompts: learned tokens, in front of the input's own where a transformer's blocks attend to them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, pairwise
from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferlab.adapters.base import Adapter
from transferlab.adapters.places import in_stages, side_of
from transferlab.backbones.base import Backbone
from transferlab.backbones.looking import outputs
from transferlab.backbones.stages import Stage
from transferlab.errors import InputError
from transferlab.values import Carried, Pair, Seq, Value

ROOM = "prompts"
"""Where in a net the prompts stand."""
INSTEAD = "strategy=adapter and strategy=lora do without prompts"


class PromptTokens(nn.Module):
    """P learned tokens for each sample.

    They start uniform in (-v, v), v = sqrt(6 / (D + D)), Xavier's bound for a layer of D inputs and D outputs. The
    authors' code has the numbers of a patch in place of the first D, which of ViT-B/16 are as many.

    Args:
        count: P.
        features: D, of a token.
        dropout: share of a sample's prompts' numbers that is dropped in training.
    """

    def __init__(self, count: int, features: int, dropout: float) -> None:
        super().__init__()
        bound = sqrt(3 / features)
        self.tokens = nn.Parameter(torch.empty(count, features).uniform_(-bound, bound))
        self.dropout = nn.Dropout(dropout)

    def forward(self, samples: int) -> Tensor:
        """Of so many samples, (B, P, D)."""
        found: Tensor = self.dropout(self.tokens.expand(samples, -1, -1))
        return found


class Prompts(Adapter):
    """Visual prompt tuning: `[x_i, _, E_i] = L_i([x_{i-1}, P_{i-1}, E_{i-1}])`, prompts P trained, blocks L frozen.

    Jia et al. 2022, "Visual Prompt Tuning" (ECCV). Deep, as above, every block has prompts of its own, and what it
    makes of them is dropped. Shallow, the first block alone has some; what each block makes of them goes into
    the next, and is dropped behind the last. Here they stand before all other tokens, x included: attention does not
    ask for the order of tokens that know their positions already.

    A stage's output as losses, heads and diagnostics see it holds no prompts. A chain with shallow prompts can be
    halted and gone on with between any two stages, by what `Backbone.forward` gives, which carries them.

    Args:
        prompts: P.
        deep: whether every block has prompts of its own.
        dropout: share of prompts' numbers that is dropped in training.
        stages: with `deep`, the blocks by name, pattern or position; None: all.
        save: `alone`; nothing can merge it.

    Raises:
        InputError: a number out of its range, stages without `deep`, or another word.
    """

    def __init__(
        self,
        prompts: int,
        deep: bool,
        dropout: float,
        stages: Sequence[str | int] | None,
        save: Literal["alone", "merged"],
    ) -> None:
        super().__init__(save)
        if prompts < 1:
            raise InputError(f"strategy.adapter.prompts={prompts}: at least 1")
        if not 0 <= dropout < 1:
            raise InputError(f"strategy.adapter.dropout={dropout}: a share in [0, 1)")
        if stages is not None and not deep:
            raise InputError(
                f"strategy.adapter.stages={list(stages)} names blocks with prompts of their own: set "
                "strategy.adapter.deep=true, or stages=null"
            )
        self.prompts, self.deep, self.dropout, self.stages = prompts, deep, dropout, stages

    def put(self, backbone: Backbone, example: Value) -> None:
        """Give blocks prompts.

        Raises:
            InputError: no stage is a block that attends over tokens, or its attention has room for no other tokens.
        """
        blocks = _blocks(backbone, example)
        if self.deep:
            inside = in_stages(backbone, self.stages)
            runs = [[block] for block in blocks if block.stage.name in inside]
            if not runs:
                names = ", ".join(block.stage.name for block in blocks)
                raise InputError(f"strategy.adapter.stages={list(self.stages or ())}: none of the blocks ({names})")
        else:
            runs = _runs(backbone, blocks)
        backbone.net.add_module(ROOM, nn.ModuleDict())
        altered = [stage for run in runs for stage in self._prompted(backbone.net, run)]
        before = outputs(backbone, example, backbone.stages)
        backbone.alter(altered)
        _try(backbone, example, before)

    def _prompted(self, net: nn.Module, run: Sequence["_Block"]) -> list[Stage]:
        """Consecutive blocks, with prompts from before the first to behind the last."""
        name = run[0].stage.name.replace(".", "_")
        net.get_submodule(ROOM).add_module(name, PromptTokens(self.prompts, run[0].features, self.dropout))
        found = []
        for number, block in enumerate(run):
            first, last = number == 0, number == len(run) - 1
            enter = partial(_fresh, path=f"{ROOM}.{name}", side=block.side) if first else partial(_on, side=block.side)
            leave = partial(_dropped if last else _aside, count=self.prompts, side=block.side)
            owns = [*block.stage.owns, f"{ROOM}.{name}"] if first else block.stage.owns
            found.append(replace(block.stage, steps=[enter, *block.stage.steps, leave], owns=owns))
        return found


@dataclass(frozen=True)
class _Block:
    """A stage that attends over tokens: those of a pair's `side`, or of a value that is no pair; D of them."""

    stage: Stage
    side: int | None
    features: int


def _blocks(backbone: Backbone, example: Value) -> list[_Block]:
    seen = outputs(backbone, example, backbone.stages)
    attending = {
        backbone.stage_of(path) for path, module in backbone.net.named_modules() if "Attention" in type(module).__name__
    }
    found, maps = [], None
    for before, name in pairwise((None, *backbone.stages)):
        if name not in attending or name not in backbone.parametric:
            continue
        given, gave = example if before is None else seen[before], seen[name]
        side = side_of(given, gave)
        taken, made = _tokens(given, side), _tokens(gave, side)
        if taken is not None and made is not None and taken.shape == made.shape:
            found.append(_Block(backbone.stage(str(name)), side, made.shape[-1]))
        elif isinstance(gave, Tensor) and gave.ndim == 4:
            maps = maps or name
    if found:
        return found
    if maps is not None:
        raise InputError(
            f"strategy.adapter: stage '{maps}' of backbone '{backbone.name}' attends within maps, say in windows, not "
            f"over one sequence of tokens that prompts could join: choose a ViT; {INSTEAD}"
        )
    raise InputError(
        f"strategy.adapter: no stage of backbone '{backbone.name}' is a transformer's block, which attends over tokens "
        f"that prompts could join: choose a transformer; {INSTEAD}"
    )


def _runs(backbone: Backbone, blocks: Sequence[_Block]) -> list[list[_Block]]:
    """All blocks of a transformer: of two towers that stand side by side two lists."""
    runs = [list(run) for _, run in groupby(blocks, key=lambda block: block.side)]
    for run in runs:
        places = [backbone.stages.index(block.stage.name) for block in run]
        if places != list(range(places[0], places[0] + len(places))) or len(runs) > len({b.side for b in blocks}):
            raise InputError(
                f"strategy.adapter.deep=false: the blocks of backbone '{backbone.name}' do not follow one another, so "
                "that prompts cannot go through all of them: set strategy.adapter.deep=true"
            )
    return runs


def _try(backbone: Backbone, example: Value, before: dict[str, Any]) -> None:
    """See that the blocks take more tokens than their own, and give back as many as before."""
    try:
        after = outputs(backbone, example, backbone.stages)
        fits = all(_shapes(after[stage]) == _shapes(value) for stage, value in before.items())
        reason = "it gives another number of tokens"
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        fits, reason = False, " ".join(str(error).split())
    if not fits:
        raise InputError(
            f"strategy.adapter: attention in backbone '{backbone.name}' has room for its own tokens alone, as tables "
            f"of their positions have ({reason}): choose another transformer; {INSTEAD}"
        )


def _shapes(value: Any) -> Any:
    return value.shape if isinstance(value, Tensor) else [_shapes(part) for part in value]


def _tokens(value: Any, side: int | None) -> Tensor | None:
    """Tokens (B, N, D); None: it has none."""
    part = value if side is None else value[side]
    h = part.h if isinstance(part, Seq) else part
    return h if isinstance(h, Tensor) and h.ndim == 3 and h.is_floating_point() else None


def _fresh(net: nn.Module, value: Any, path: str, side: int | None) -> Any:
    """Glue: a block's prompts, in front of its tokens."""
    tokens = _tokens(value, side)
    assert tokens is not None
    return _joined(value, net.get_submodule(path)(len(tokens)), side)


def _on(net: nn.Module, value: Any, side: int | None) -> Any:
    """Glue: what the block before made of the prompts, in front of its tokens again.

    Raises:
        InputError: they did not come along.
    """
    if not isinstance(value, Carried):
        raise InputError(
            "with strategy.adapter.deep=false a chain cannot be entered behind its first block by tokens alone, as the "
            "prompts are missing: set strategy.adapter.deep=true"
        )
    return _joined(value.seen, value.beside, side)


def _aside(net: nn.Module, value: Any, count: int, side: int | None) -> Carried:
    """Glue: prompts and tokens apart, so that who observes the stage sees the tokens."""
    tokens = _tokens(value, side)
    assert tokens is not None
    return Carried(_dropped(net, value, count, side), tokens[:, :count])


def _dropped(net: nn.Module, value: Any, count: int, side: int | None) -> Any:
    """Glue: the tokens without their prompts."""

    def behind(part: Any) -> Any:
        return Seq(part.h[:, count:], part.mask[:, count:]) if isinstance(part, Seq) else part[:, count:]

    return behind(value) if side is None else value._replace(**{Pair._fields[side]: behind(value[side])})


def _joined(value: Any, prompts: Tensor, side: int | None) -> Any:
    def joined(part: Any) -> Any:
        if isinstance(part, Seq):
            seen = part.mask.new_ones(prompts.shape[:2])
            return Seq(torch.cat([prompts.to(part.h.dtype), part.h], 1), torch.cat([seen, part.mask], 1))
        return torch.cat([prompts.to(part.dtype), part], 1)

    return joined(value) if side is None else value._replace(**{Pair._fields[side]: joined(value[side])})
