"""`transferlab compare`: read, compare, show, write."""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from transferlab import parsers, scored
from transferlab.compare import reading
from transferlab.compare.reading import WANDB
from transferlab.files import check_writable

if TYPE_CHECKING:
    from transferlab.compare.comparison import Comparison

FOLDER = "comparison"


@dataclass(frozen=True)
class Options:
    """What a comparison is asked for.

    Attributes:
        names: studies, folders or `wandb:entity/project[/group]`; none: the only study under `runs`.
        runs: where studies lie.
        baseline: the row that the others are paired with; None: scratch, else the plainest there is.
        metric: of the selected epoch, e.g. `test/accuracy`; None: the task's, else what most runs were tested by.
        by: axes or config keys that make the rows.
        where: a condition on runs; empty: all.
        out: folder of the files written; None: `comparison` in the first study's own.
        wandb: also log the comparison to W&B.
    """

    names: Sequence[str]
    runs: Path
    baseline: str | None
    metric: str | None
    by: tuple[str, ...]
    where: str
    out: Path | None
    wandb: bool


def options(words: Sequence[str]) -> Options:
    """The options of a command line.

    Raises:
        InputError: no such flag.
    """
    told = "Compare the strategies of a study: which is better, by how much, how surely, and at what cost."
    parser = parsers.of("compare", told)
    parsers.add_runs(parser)
    add = parser.add_argument
    add("names", nargs="*", metavar="STUDY", help="studies, folders of runs, wandb:entity/project[/group]")
    add("--baseline", help="the row that the others are paired with (default: scratch)")
    add("--metric", help="of the selected epoch (default: the task's, else what most runs were tested by)")
    add("--by", default="strategy", help="what the rows are: axes or config keys, with commas between")
    add("--where", default="", help="which runs, e.g. 'target.labels=10 and seed<3'")
    add("--out", type=Path, help=f"folder of what is written (default: {FOLDER} in the study's own)")
    add("--wandb", action="store_true", help="log the comparison to W&B too, as a run of job type compare")
    found = vars(parser.parse_args(list(words)))
    by = tuple(key.strip() for key in found.pop("by").split(",") if key.strip())
    return Options(by=by or ("strategy",), **found)


def compare(asked: Options) -> None:
    """Compare the strategies of studies, show it and write it in every form.

    Raises:
        InputError: nothing to compare, or no such study, metric, key or baseline.
    """
    # No cycles are made, and looking for them among millions of small objects takes as long as reading them.
    gc.disable()
    places = reading.find(asked.names, asked.runs)
    reads = reading.begin(places)
    # the libraries take as long to load as a thousand records to read
    from transferlab.compare import comparison, records, report
    from transferlab.compare.plots import canvas  # noqa: F401

    study = records.arrange(reads(), places, asked.metric, asked.by, asked.where)
    gc.freeze()
    studies = {*(place for place in places if isinstance(place, Path)), *asked.runs.glob("*")}
    found = comparison.analyse(study, asked.baseline, asked.by, scored.rankings(studies))
    out = asked.out or _folder(places)
    check_writable(out, "--out")
    console = Console(width=None if Console().is_terminal else 160)
    report.show(found, console)
    written = report.write(found, out)
    told = {"page": written["page"], "report": written["report"], "all": f"{out} ({len(written)} files)"}
    if asked.wandb:
        told["W&B"] = log(found, written, out)
    for what, where in told.items():
        console.print(f"{what:6s} {where}", soft_wrap=True, markup=False, highlight=False)


def log(comparison: "Comparison", written: Mapping[str, Path], out: Path) -> str:
    """Log tables, pictures and files as a W&B run of job type `compare`; where it went."""
    from transferlab.compare import wandb_report
    from transferlab.compare.sheets import frames

    config = next(iter(comparison.study.runs.values())).config
    told = wandb_report.log(
        title=f"compare {comparison.study.name}",
        project=str(config.get("tracker.project") or "transferlab"),
        entity=config.get("tracker.entity"),
        study=comparison.study.name,
        tables=frames(comparison),
        pictures=[path for path in written.values() if path.suffix == ".png"],
        files=[path for path in written.values() if path.suffix != ".png"],
        folder=out,
        mode=str(config.get("tracker.mode") or "auto"),
        timeout=float(config.get("tracker.timeout") or 5),
    )
    return str(told.get("url") or out / str(told["folder"])) if told.get("run_id") else "failed, see the warning above"


def _folder(places: Sequence[str | Path]) -> Path:
    """In the study's own folder; of several places, and of W&B, here."""
    if len(places) == 1 and isinstance(places[0], Path):
        return places[0] / FOLDER
    names = [place.name if isinstance(place, Path) else place.removeprefix(WANDB).replace("/", "-") for place in places]
    return Path(FOLDER) / "+".join(names)
