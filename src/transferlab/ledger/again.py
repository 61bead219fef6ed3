"""What `transferlab retry` runs: of each command of a study the runs that are left, with the words that it had."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transferlab import results
from transferlab.composing import Composer
from transferlab.errors import InputError
from transferlab.expanding import configs
from transferlab.ledger import plans
from transferlab.ledger.runs import Entry


@dataclass(frozen=True)
class Batch:
    """Runs of one start, for one launch.

    Attributes:
        name: of the config that they start from.
        config_dir: the user's own folder of configs.
        config_path: a folder in place of the shipped configs.
        hydra: overrides of Hydra's own section.
        runs: their folders.
        jobs: all other overrides, run by run.
    """

    name: str
    config_dir: str | None
    config_path: str | None
    hydra: Sequence[str]
    runs: Sequence[Path]
    jobs: Sequence[Sequence[str]]

    def composer(self) -> Composer:
        """Of its configs."""
        return Composer(self.name, self.config_dir, self.config_path)

    def others(self) -> list[tuple[Path, str]]:
        """Those that would be another run now, with its id.

        Raises:
            InputError: something is wrong with the command.
        """
        with self.composer() as composer:
            composer.check([*self.hydra, *self.jobs[0]], multirun=False)
            now = [results.run_id(config) for config in configs(composer, self.hydra, self.jobs)]
        return [(run, name) for run, name in zip(self.runs, now, strict=True) if run.name != name]

    def without(self, runs: Iterable[Path]) -> "Batch":
        """All runs but these."""
        out = set(runs)
        kept = [(run, job) for run, job in zip(self.runs, self.jobs, strict=True) if run not in out]
        start = (self.name, self.config_dir, self.config_path, self.hydra)
        return Batch(*start, [run for run, _ in kept], [job for _, job in kept])


def batches(study: Path, entries: Sequence[Entry], given: Sequence[str]) -> Iterator[Batch]:
    """Put runs together that one command asked for; one that no plan has, or has no more, starts from its saved config.

    Args:
        study: the folder.
        entries: of the runs.
        given: overrides for all of them.

    Raises:
        InputError: a run would be another one now, or nothing tells what it was to be.
    """
    hydra = [word for word in given if _key(word).startswith(("hydra/", "hydra."))]
    own = [word for word in given if word not in hydra]
    left = {entry.folder: entry for entry in entries}
    for command in plans.read(study):
        runs = [run for run in command.runs if run.folder in left]
        if not runs:
            continue
        more = [*_place(study, command.study), *own]
        jobs = [_replaced(run.words, more) for run in runs]
        start = (command.name, command.config_dir, command.config_path, _replaced(command.hydra, hydra))
        batch = Batch(*start, [run.folder for run in runs], jobs)
        changed = [run for run, _ in _others(batch, own)]
        if (batch := batch.without(changed)).runs:
            yield batch
        for run in batch.runs:
            del left[run]
    for run in left:
        if not (run / "config.yaml").exists():
            raise InputError(
                f"{run.name} would be another run now, as configs have changed, or nothing tells what it was to be: "
                "`transferlab clean --forget` drops it, the command itself starts those of today"
            )
        name = str((results.raw(run) or {}).get("study") or study.name)
        job = _replaced([], [*_place(study, name), *own])
        batch = Batch("config", str(run), None, hydra, [run], [job])
        for _, now in _others(batch, own):
            raise InputError(f"{run}/config.yaml would be the run {now} now: run it as that, or remove {run}")
        yield batch


def _others(batch: Batch, given: Sequence[str]) -> list[tuple[Path, str]]:
    """The runs that would be others now by themselves.

    Raises:
        InputError: they would be by the overrides given.
    """
    found = batch.others()
    if found and given:
        raise InputError(
            f"{' '.join(given)} would make other runs of {len(found)} (e.g. {found[0][1]} of {found[0][0].name}): "
            "retry takes what changes no run, such as hydra/launcher=..., tracker=... or workers=..."
        )
    return found


def _place(study: Path, name: str) -> list[str]:
    """Overrides by which runs lie in a folder, wherever their study was when it had this name."""
    parts = Path(name).parts
    if study.parts[-len(parts) :] == parts:
        return [f"paths.runs={_quoted(Path(*study.parts[: -len(parts)]))}"]
    whole = study.resolve()
    return [f"paths.runs={_quoted(whole.parent)}", f"study={_quoted(whole.name)}"]


def _quoted(value: object) -> str:
    return "'" + str(value).replace("'", "\\'") + "'"


def _replaced(words: Sequence[str], given: Sequence[str]) -> list[str]:
    """The words, of which those given say some anew; another launcher has other settings."""
    keys = {_key(word) for word in given}
    launcher = "hydra/launcher" in keys
    kept = [w for w in words if _key(w) not in keys and not (launcher and _key(w).startswith("hydra.launcher."))]
    return [*kept, *given]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")
