"""The rules that see no target label: after each epoch they are shown what the net makes of source and target."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from transferlab.backbones.base import Backbone
from transferlab.data.loading import Loader
from transferlab.data.module import TransferData
from transferlab.data.vault import hidden
from transferlab.diagnostics.probe import undisturbed
from transferlab.errors import InputError
from transferlab.history import History
from transferlab.module import TransferModule
from transferlab.oracle import Oracle
from transferlab.seeding import derive
from transferlab.selection.rules import COLLAPSED, Rule, Unseen, is_oracle, name
from transferlab.selection.seen import Labelled, Passed, Seen
from transferlab.selection.settings import Rules
from transferlab.tasks import base
from transferlab.tasks.base import Task
from transferlab.tasks.places import UNKNOWN, Placed, drawn
from transferlab.values import flat

_log = logging.getLogger(__name__)
PLACES = 4
"""Of a sample whose pixels or words have classes, so many are shown to rules."""


class Appraiser(Callback):
    """Adds to each epoch's row the scores of rules that see no target label, and whether predictions have collapsed.

    What it looks at holds no label of the target, so that no rule can read one. It stands behind the history, so that
    its time is none of the fit's, and before whoever selects.

    Args:
        rules: settings.
        declared: the rule that selects; it must have what it reads, those beside it are left out where they lack it.
        history: whose rows are added to.
        shares: whether the source's labels are classes of the head that is scored; else no rule sees the source.
        enter: has the batches of a part of the data enter the net where they can, with the weights that it has now.
    """

    def __init__(
        self,
        rules: Rules,
        declared: Rule,
        history: History,
        shares: bool,
        enter: Callable[[Trainer, TransferModule, str], None],
    ) -> None:
        self.rules, self.declared, self.history, self.shares = rules, declared, history, shares
        self._enter = enter
        asked = (declared, *rules.beside.values())
        self.unseen = {one.name: one for one in reversed(asked) if isinstance(one, Unseen)}
        self._parts: dict[str, Loader] = {}

    @property
    def measured(self) -> tuple[str, ...]:
        """Keys of a row."""
        return tuple(one.key for one in self.unseen.values())

    def check(self, data: TransferData, task: Task) -> None:
        """Ask the declared rule for the score of an imagined epoch, so that one that lacks what it reads says so now.

        Rules beside it are left out where the task gives them nothing to read.

        Raises:
            InputError: there are no source samples, or none held out; or the task does not tell classes apart.
        """
        if not self.unseen:
            return
        if not isinstance(task, Placed) and (
            task.dense or task.probabilities(torch.zeros(2, len(data.sets.classes) or 1)) is None
        ):
            if isinstance(self.declared, Unseen):
                raise InputError(
                    f"selection={self.declared.name} reads probabilities of classes, and this task gives none: choose "
                    "selection=last or target_val"
                )
            self.unseen.clear()
        if isinstance(self.declared, Unseen):
            parts = [data.sets.source, data.sets.held] if self.shares else [None, None]
            counts = [6 if samples is not None and len(samples) else 0 for samples in (*parts, data.sets.hidden)]
            source, held, inputs = (_imagined(count) for count in counts)
            self.declared.score(Seen(Labelled(*source), Labelled(*held), Passed(*inputs[:2])))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the epoch just ended."""
        if not self.unseen:
            return
        module, row = cast(TransferModule, pl_module), self.history.rows[-1]
        with undisturbed(module), torch.no_grad():
            seen = self._seen(trainer, module)
        left: dict[str, InputError] = {}
        for key, rule in self.unseen.items():
            try:
                row[rule.key] = rule.score(seen)
            except InputError as error:
                if isinstance(self.declared, Unseen) and self.declared.name == key:
                    raise
                left[key] = error
        if left:
            _log.info("rules left out: %s (%s)", ", ".join(left), next(iter(left.values())))
            self.unseen = {key: rule for key, rule in self.unseen.items() if key not in left}
        if self.rules.collapse is not None:
            found = self.rules.collapse(seen)
            row[COLLAPSED] = float(found is not None)
            if found is not None:
                _log.warning("epoch %d: predictions have collapsed: %s", row["epoch"], found.reason)
        if trainer.logger is not None:
            said = {key: value for key, value in row.items() if key.startswith("rules/")}
            trainer.logger.log_metrics(said, step=trainer.global_step - 1)

    def said(self, rows: Sequence[Mapping[str, Any]], oracle: Oracle | None) -> dict[str, Any]:
        """What each rule would have selected, for the record.

        Args:
            rows: of the history.
            oracle: whose scores on the test split are told along, where it was asked for.

        Returns:
            By rule its epoch, its score there, whether predictions had collapsed in it (None: nobody looked), and the
            test split's scores.
        """
        tested = {} if oracle is None else {row["epoch"]: row for row in oracle.rows}
        found = {}
        for rule in {name(one): one for one in (*self.rules.beside.values(), self.declared)}.values():
            try:
                scores = [(_number(rule(_joined(row, tested, rule))), row["epoch"]) for row in rows]
            except (InputError, KeyError):  # no labels are held out, or it was left out
                continue
            best = rows[scores.index(max(scores))]
            found[name(rule)] = {
                "epoch": best["epoch"],
                "score": float(best[rule.key] if isinstance(rule, Unseen) else rule(_joined(best, tested, rule))),
                "collapsed": bool(best[COLLAPSED]) if COLLAPSED in best else None,
                **{key: value for key, value in tested.get(best["epoch"], {}).items() if key != "epoch"},
            }
        return found

    def _seen(self, trainer: Trainer, module: TransferModule) -> Seen:
        data = cast(TransferData, cast(Any, trainer).datamodule)
        parts = {}
        for part in ("source", "held", "inputs"):
            if part not in self._parts:
                self._parts[part] = data.shown(part, self.rules.samples if self.shares or part == "inputs" else 0)
            self._enter(trainer, module, f"shown {part}")
            parts[part] = _passed(trainer, module, self._parts[part])
        source, held, (features, logits, _) = parts["source"], parts["held"], parts["inputs"]
        return Seen(Labelled(*source), Labelled(*held), Passed(features, logits))


def _passed(trainer: Trainer, module: TransferModule, batches: Iterable[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, F), logits (N, C) and labels of samples, or of some places in each, on the CPU."""
    found = list(_through(trainer, module, batches))
    if not found:
        return torch.zeros(0, 1), torch.zeros(0, 2), torch.zeros(0, dtype=torch.long)
    features, logits, labels = (torch.cat(part) for part in zip(*found, strict=True))
    return features, logits, labels


def _through(
    trainer: Trainer, module: TransferModule, batches: Iterable[Any]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    precision = trainer.precision_plugin
    with precision.val_step_context():
        for number, batch in enumerate(batches):
            x, y = trainer.strategy.batch_to_device(precision.convert_input(batch))
            features, _, outputs = base.observe(module.backbone, module.head, x)
            if isinstance(module.task, Placed):
                yield _in_places(module.task, module.backbone, features, outputs, y, derive(0, "places", number))
                continue
            probabilities = module.task.probabilities(outputs)
            assert probabilities is not None
            tiny = torch.finfo(torch.float32).tiny
            yield flat(features).float().cpu(), probabilities.float().clamp_min(tiny).log().cpu(), y.cpu()


def _in_places(
    task: Placed, backbone: Backbone, features: Any, outputs: Any, y: Tensor, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    logits, there = task.placed(features, outputs)
    labels = torch.zeros_like(there, dtype=torch.long) if hidden(y) else task.marks(y, outputs)
    where = drawn(there & (labels != UNKNOWN), PLACES, seed)
    vectors = task.vectors(backbone, features, outputs)
    return vectors[where].float().cpu(), logits[where].float().log_softmax(1).cpu(), labels[where].cpu()


def _imagined(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features, logits and labels of two classes."""
    y = torch.arange(count) % 2
    return torch.arange(2.0 * count).reshape(count, 2), torch.eye(2)[y], y


def _joined(row: Mapping[str, Any], tested: Mapping[int, Mapping[str, Any]], rule: Rule) -> Mapping[str, Any]:
    """A row as a rule may read it: the test split is the oracle's alone."""
    return {**row, **tested.get(row["epoch"], {})} if is_oracle(rule) else row


def _number(score: float) -> float:
    return score if score == score else float("-inf")
