"""What a search is told of a run: the score that it would end with after each epoch, and how it ended."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer

from transferlab import nodes, results
from transferlab.errors import InputError, PrunedError
from transferlab.history import KeepSelected
from transferlab.results import Record
from transferlab.search import trials
from transferlab.selection.rules import Rule


class Pruner(Callback):
    """Reports the best score so far after each epoch, and breaks off a run that falls behind.

    Stands behind `KeepSelected`, which has the score. The last epoch is reported too, and breaks nothing off. Runs
    that train together, and those of several processes, are not broken off: their epochs are told when they are over.
    """

    def __init__(self, keep: KeepSelected) -> None:
        self.keep = keep

    def on_train_epoch_end(self, trainer: Any, pl_module: LightningModule) -> None:
        """Report the epoch just ended.

        Raises:
            PrunedError: the run falls behind.
        """
        if not isinstance(trainer, Trainer) or trainer.world_size > 1 or self.keep.best is None:
            return
        epochs, trial = trainer.current_epoch + 1, trials.here()
        behind = trial is not None and trial.falls_behind(epochs, self.keep.best)
        if trial is not None and behind and epochs < (trainer.max_epochs or 0):
            raise PrunedError.after(epochs, trial.pruner)


def pruner(config: DictConfig, keep: KeepSelected) -> Pruner | None:
    """What reports a run's epochs; None where it is no trial, as what a trial pretrains or looks for first is none."""
    inside = config.study in (results.PRETRAINING, results.CANDIDATES)
    return Pruner(keep) if trials.is_one() and not inside else None


def tell(config: DictConfig, record: Record | None) -> None:
    """Tell the search that asked for a job, if one did, how its run ended; what did not end leaves the trial open.

    Args:
        config: of the run.
        record: of the run as it is now.
    """
    if record is None or (trial := trials.here()) is None or not trial.is_open():
        return
    if record["status"] in ("finished", "pruned"):
        rule: Rule = nodes.build(config.selection)
        trial.report(_best_so_far(rule, record))
    if record["status"] == "finished":
        trial.finish(score(rule, record))
    elif record["status"] in ("pruned", "diverged"):
        trial.drop()


def score(rule: Rule, record: Record) -> float:
    """What a selection rule gives a finished run: more is better.

    Where weights are interpolated in the end, it is the score of these.
    """
    selected = record["metrics"]["selected"]
    rows = {row["epoch"]: row for row in record["history"]}
    return _number(rule({**rows.get(selected["epoch"], {}), **selected}))


def _best_so_far(rule: Rule, record: Record) -> Iterator[float]:
    """After each epoch of a history, as far as the rule can be asked of its rows: the oracle's scores are not there."""
    best = float("-inf")
    for row in record["history"]:
        try:
            best = max(best, _number(rule(row)))
        except (InputError, KeyError):
            return
        yield best


def _number(value: float) -> float:
    return value if value == value else float("-inf")
