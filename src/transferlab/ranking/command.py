"""`transferlab rank`: score every candidate, show them, write them down, and tell W&B."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import configure_log
from hydra.utils import get_class
from rich.console import Console

from transferlab import parsers, scored, withheld
from transferlab.compare import wandb_report
from transferlab.compare.wandb_runs import RANKING
from transferlab.composing import Composer
from transferlab.files import check_writable
from transferlab.ranking import telling
from transferlab.ranking.ranking import Ranking
from transferlab.ranking.ranking import rank as ranked
from transferlab.trust import trust

_HELP = """Which source and backbone fit a target, before anything trains. source and backbone are names and globs with
commas between, in quotes; the other words are those of `transferlab train` and the keys of conf/rank.yaml: by, scores,
samples, pretrain, reference, task2vec, bootstrap, intervals, score.NAME.KEY."""


@dataclass(frozen=True)
class Options:
    """What is to be ranked.

    Attributes:
        words: as `ranking.rank` takes them.
        config_dir: a folder of one's own configs.
        trust: packages whose code configs may name.
    """

    words: Sequence[str]
    config_dir: str | None
    trust: Sequence[str]


def options(words: Sequence[str]) -> Options:
    """The options of a command line.

    Raises:
        InputError: no such flag.
    """
    parser = parsers.of("rank", _HELP)
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="e.g. target=digits source='mnist5k,none'")
    parser.add_argument("--config-dir", metavar="D", help="add a folder of your own configs")
    parsers.add_trust(parser)
    return Options(**vars(parser.parse_intermixed_args(list(words))))


def rank(asked: Options) -> None:
    """Score every candidate, show them, write them down, and tell W&B.

    Raises:
        InputError: a word is wrong, no candidate is left, or nothing can be written.
    """
    withheld.check(asked.words)
    trust(asked.trust)
    with Composer("rank", asked.config_dir) as composer:  # what is under way is told as by `train`
        configure_log(composer.config(["hydra.runtime.output_dir=."]).hydra.job_logging)
    ranking = ranked(asked.words, asked.config_dir)
    folder = place(ranking)
    check_writable(folder)
    console = Console(width=None if Console().is_terminal else 160)
    telling.show(ranking, console)
    files = telling.write(ranking, folder)
    told = {"all": f"{folder} ({len(files)} files)"}
    if (where := log(ranking, files, folder)) is not None:
        told["W&B"] = where
    for what, where in told.items():
        console.print(f"{what:6s} {where}", soft_wrap=True, markup=False, highlight=False)


def place(ranking: Ranking) -> Path:
    """`<study>/ranking/<id>`, the same for the same candidates and settings."""
    study = Path(str(ranking.config.paths.runs)) / str(ranking.config.study)
    return study / scored.FOLDER / scored.identity(telling.record(ranking))


def log(ranking: Ranking, files: Sequence[Path], folder: Path) -> str | None:
    """Log the tables as a W&B run of job type `rank`; where it went, None where `tracker=none`."""
    from transferlab.tracking import WandbTracker

    tracker = ranking.config.tracker
    if get_class(tracker._target_) is not WandbTracker:
        return None
    told = wandb_report.log(
        title=f"rank {ranking.target}",
        project=str(tracker.project),
        entity=tracker.entity,
        study=str(ranking.config.study),
        tables={
            "ranking": telling.frame(ranking),
            "agreement": telling.taus(ranking).rename_axis("score").reset_index(),
        },
        pictures=[],
        files=files,
        folder=folder,
        mode=str(tracker.mode),
        timeout=float(tracker.timeout),
        job_type=RANKING,
    )
    return (
        str(told.get("url") or folder / str(told["folder"])) if told.get("run_id") else "failed, see the warning above"
    )
