"""What looks on while a run trains, and acts: its callbacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Callback

from transferlab import building, nodes, results
from transferlab.acting import Anchored, Averager, Listening, Studies
from transferlab.appraising import Appraiser
from transferlab.data.parts import Parts
from transferlab.diagnostics.watch import Watch
from transferlab.flops import Flops
from transferlab.history import History, KeepSelected
from transferlab.oracle import Oracle
from transferlab.partials import settled
from transferlab.prefix.entering import PrefixCache
from transferlab.pruning import Pruner, pruner
from transferlab.scoring import Tested
from transferlab.selection.rules import Rule, is_oracle
from transferlab.selection.settings import Rules
from transferlab.strategy import Strategy
from transferlab.tasks.base import Task
from transferlab.unchanged import Unchanged


@dataclass(frozen=True)
class Watching:
    """What looks on while a run trains, and acts.

    Attributes:
        studies: lets losses see whole splits before the first step.
        anchored: keeps weights to interpolate with.
        history: keeps a row of each epoch.
        cache: has batches enter behind frozen stages.
        listening: tells a schedule what was measured.
        watch: diagnostics.
        unchanged: knows what no epoch has trained.
        appraiser: scores each epoch by rules that see no target label.
        oracle: scores the test split after each epoch; None: not asked for.
        keep: keeps the weights of the epoch that the selection rule prefers.
        flops: counts operations.
        tested: keeps what the report is made of.
        pruner: tells a search of each epoch; None: no search asked for the run.
        averager: shows averaged weights.
    """

    studies: Studies
    anchored: Anchored
    history: History
    cache: PrefixCache
    listening: Listening
    watch: Watch
    unchanged: Unchanged
    appraiser: Appraiser
    oracle: Oracle | None
    keep: KeepSelected
    flops: Flops
    tested: Tested
    pruner: Pruner | None
    averager: Averager

    @property
    def callbacks(self) -> list[Callback]:
        """In the order in which they are to be called.

        Those behind the history take no time of the fit's. The averager is last: what is measured at the end of an
        epoch is measured of the average.
        """
        return [one for one in vars(self).values() if one is not None]


def watching(
    config: DictConfig,
    whole: Mapping[str, Any],
    folder: Path,
    strategy: Strategy,
    parts: Parts,
    task: Task,
    watch: Callable[[History, bool, bool], Watch],
    rules: Rules,
    from_source: bool,
) -> Watching:
    """The callbacks of a run.

    Args:
        config: of the run.
        whole: the same in portable form.
        folder: that it lies in.
        strategy: of the run.
        parts: the target, cut.
        task: of the run.
        watch: makes the diagnostics.
        rules: what is scored after each epoch.
        from_source: whether the run starts from a source.
    """
    history, flops, unchanged = History(), Flops(), Unchanged(folder)
    cache = building.cache(config, whole, flops)
    rule: Rule = settled(nodes.build(config.selection))
    oracle = None
    if config.get("oracle") or is_oracle(rule):
        oracle = Oracle(rule, len(parts.classes), task.metric, cache.on_test_epoch_start)
    beside = oracle.latest if oracle is not None and is_oracle(rule) else dict
    keep = KeepSelected(rule, history, folder / results.KEPT, unchanged, beside)
    return Watching(
        studies=Studies(),
        anchored=Anchored(strategy.interpolation),
        history=history,
        cache=cache,
        listening=Listening(strategy.freezing, lambda: history.rows),
        watch=watch(history, from_source, config.source.pretrain is not None),
        unchanged=unchanged,
        appraiser=Appraiser(rules, rule, history, strategy.shares_classes, cache.match),
        oracle=oracle,
        keep=keep,
        flops=flops,
        tested=Tested(),
        pruner=pruner(config, keep),
        averager=Averager(strategy.averaging),
    )
