"""A run that is ready for its first step, and what is made of it after its last."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Trainer

from transferlab import dp_sgd, files, results
from transferlab.data.module import TransferData
from transferlab.data.parts import Parts
from transferlab.diagnostics.forgetting import Exam
from transferlab.diagnostics.privacy import Membership
from transferlab.diagnostics.settings import Settings
from transferlab.history import History, save_merged, save_weights
from transferlab.module import TransferModule
from transferlab.record import of_axes, title
from transferlab.results import Record
from transferlab.scoring import Scored, looked_back, scores
from transferlab.tracking import RunCard, Tracker
from transferlab.watching import Watching

LAST = "last.pt"


@dataclass
class Run:
    """A run before its first step.

    Attributes:
        config: of the run.
        folder: that it lies in.
        record: as far as it is known.
        tracker: not started.
        parts: the target, cut.
        module: with its starting weights.
        data: its batches.
        trainer: that fits it.
        watching: the trainer's callbacks.
        diagnostics: what watches it.
        exam: on the source, for after the training.
        membership: samples of the source to look for then.
    """

    config: DictConfig
    folder: Path
    record: Record
    tracker: Tracker
    parts: Parts
    module: TransferModule
    data: TransferData
    trainer: Trainer
    watching: Watching
    diagnostics: Settings
    exam: Exam | None = None
    membership: Membership | None = None

    @property
    def title(self) -> str:
        """In a few words."""
        return title(self.config)

    def card(self) -> RunCard:
        """What a tracker is told."""
        return card(self.record, self.folder)

    def fitted(self) -> None:
        """Write into the record what is known of a fit, even of one that was broken off."""
        history, watch, oracle = self.watching.history, self.watching.watch, self.watching.oracle
        self.record["history"] = history.rows
        self.record["cost"].update(_cost(self.module, history), flops=self.watching.flops.total)
        self.record["cost"]["diagnostics_seconds"] = round(watch.seconds, 3)
        spent = dp_sgd.spent(self.trainer, len(self.data.sets.passed_over), self.data.batch_size)
        if spent is not None:
            self.record["data"]["privacy_epsilon"] = spent
        # looking on costs a strategy nothing
        self.record["cost"]["seconds"] += history.earlier + watch.earlier - (0.0 if oracle is None else oracle.seconds)

    def settle(self, scored: Scored | None = None) -> None:
        """Test what was fitted, and write down everything.

        Args:
            scored: gives the test split's scores of the weights that the module has; None: Lightning does.
        """
        module, watching, record = self.module, self.watching, self.record
        watching.averager.settle(module)
        watching.anchored.settle(module)
        save_weights(module, self.folder / LAST)
        by_oracle = None if watching.oracle is None else watching.oracle.scores(watching.history.rows)
        tested = scores(module, self.data, self.trainer, watching.history, watching.keep, watching.anchored, scored)
        record["metrics"] = {**tested, "oracle": by_oracle}
        record["rules"] = watching.appraiser.said(watching.history.rows, watching.oracle)
        if tested["selected"]["epoch"] == tested["last"]["epoch"] and watching.anchored.interpolation is None:
            files.same(self.folder / LAST, self.folder / results.SELECTED)
        else:
            save_weights(module, self.folder / results.SELECTED)  # the selected epoch was tested last
        record.update(watching.anchored.said())
        record["report"] = watching.tested.report(module, len(self.parts.classes))
        looks = (module, self.data, self.trainer, self.parts.classes, self.diagnostics, watching.watch)
        record.update(looked_back(*looks, self.exam, self.membership, self.folder))
        record["cost"]["diagnostics_seconds"] = round(watching.watch.seconds, 3)
        record["cost"]["cache_hits"] = watching.cache.hits
        save_merged(module, self.folder / LAST, self.folder / results.SELECTED)
        record["cost"]["weights_bytes"] = (self.folder / results.SELECTED).stat().st_size
        for file in results.PASSING:
            (self.folder / file).unlink(missing_ok=True)


def card(record: Record, folder: Path) -> RunCard:
    """What a tracker is told of a run."""
    axes = record["axes"]
    return RunCard(
        run_id=folder.name,
        study=record["study"],
        strategy=str(axes["strategy"]),
        name=of_axes(axes),
        tags=(str(axes["source"]), str(axes["target"]), str(axes["backbone"])),
        config=record["config"],
        folder=folder,
        goes_on=(folder / results.RESUME).exists(),
    )


def _cost(module: TransferModule, history: History) -> Mapping[str, Any]:
    return {
        "fit_seconds": round(history.seconds, 3),
        "samples": history.samples,
        "trainable_parameters": sum(p.numel() for name, p in module.named_parameters() if name in history.trained),
        "total_parameters": sum(p.numel() for n, p in module.named_parameters() if not n.startswith("teachers.")),
    }
