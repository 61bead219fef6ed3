"""A run that is over, told to an agent of W&B Sweeps as if it had just trained: a search waits for its scores."""

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from transferlab import agent, nodes
from transferlab.record import summary, title
from transferlab.results import Record
from transferlab.tracking import Tracker
from transferlab.training import card

_log = logging.getLogger(__name__)


def retell(config: DictConfig, folder: Path, record: Record) -> None:
    """Give the W&B run that the agent drew what a record holds; the record stays as it is.

    Nothing where no agent started the process, or where the run already is the one that was told.

    Args:
        config: of the run.
        folder: that it lies in.
        record: of the run, which is over.
    """
    if not agent.is_there() or agent.drawn() == record["tracker"].get("run_id"):
        return
    tracker: Tracker = nodes.build(config.tracker)
    logger = tracker.start(card(record, folder))
    if logger is not None:
        steps = _steps(record)
        for number, row in enumerate(_rows(record), start=1):
            logger.log_metrics(row, step=number * steps - 1)
    tracker.finish(summary(record), record["status"])
    _log.info("its scores of then are the agent's: %s", title(config))


def _rows(record: Record) -> Iterator[dict[str, float]]:
    """What a live run logs of each epoch, but for the share of parameters that train, which no record has."""
    history = record["history"]
    stages = {stage: None for row in history for stage in (*map(_stage, row["lr"]), *row["trainable"])}
    for row in history:
        measured = {key: value for key, value in row.items() if isinstance(value, (int, float))}
        flags = {f"trainable/{stage}": float(stage in row["trainable"]) for stage in stages}
        yield {**measured, **flags, **{f"lr/{group}": rate for group, rate in row["lr"].items()}}


def _stage(group: str) -> str:
    """Of which stage a group of parameters is."""
    return group.rpartition("/")[2]


def _steps(record: Record) -> int:
    """Training steps of an epoch, as the samples that were trained on tell; a solver takes one."""
    config: Mapping[str, Any] = record["config"]
    if config["strategy"].get("solver") or not record["history"] or not record["cost"]["samples"]:
        return 1
    accumulated: int = config["trainer"].get("accumulate_grad_batches", 1)
    batches: int = math.ceil(record["cost"]["samples"] / len(record["history"]) / config["batch_size"])
    return math.ceil(batches / accumulated)
