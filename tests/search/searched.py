"""Short searches on digits by the real command, and what Optuna and the records say of them."""

import json
from pathlib import Path
from typing import Any

import optuna

from transferlab import cli

WORDS = ("source=none", "strategy.start=random", "target=digits", "target.labels=6", "batch_size=16")
WORDS += ("trainer.max_epochs=2", "backbone.widths=[4,8]", "trainer.accelerator=cpu", "tracker=none")
# its score tells rates apart that accuracy of ten samples does not
WORDS += ("selection.metric=val/loss", "diagnostics=none")
RATES = "optimizer.lr=tag(log,interval(0.001,1.0))"
BATCHES = 4  # 50 training samples in batches of 16


def search(*words: str, strategies: str = "scratch", trials: int = 3) -> int:
    own = ("hydra/sweeper=optuna", f"hydra.sweeper.n_trials={trials}", f"strategy={strategies}")
    return cli.main(["train", "-m", *WORDS, RATES, *own, "study=s", *words])


def trials(study: str = "s") -> dict[str, list[Any]]:
    """The trials of each strategy."""
    storage = f"sqlite:///{Path('runs', study, 'optuna.db').resolve()}"
    names = optuna.get_all_study_names(storage)
    return {name.split()[1]: optuna.load_study(study_name=name, storage=storage).trials for name in names}


def states(study: str = "s") -> dict[str, list[str]]:
    return {strategy: [trial.state.name for trial in found] for strategy, found in trials(study).items()}


def records(study: str = "s") -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(Path("runs", study).glob("*/run.json"))]


def of(record: dict[str, Any]) -> tuple[str, float]:
    """What tells a trial's run from others."""
    return record["axes"]["strategy"], record["config"]["optimizer"]["lr"]
