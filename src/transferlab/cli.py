"""The command `transferlab`. Torch is imported when a run trains, not before."""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from transferlab import __version__
from transferlab.errors import DivergedError, InputError, plain, unknown
from transferlab.folders import shipped
from transferlab.progress import Pace, expect

_log = logging.getLogger("transferlab")
_pace = Pace()
_failures: list[Exception] = []
_PARENT = "TRANSFERLAB_PARENT"  # the process that reports the failures of the jobs it ran itself
_HYDRA_ONLY = ("hydra_help", "cfg", "info", "shell_completion", "version")

USAGE = """transferlab: which way to transfer is better, by how much, how surely and at what cost

  transferlab train [KEY=VALUE ...]     one run: source x target x strategy x backbone
  transferlab train -m KEY=A,B ...      many runs: every combination of the listed values
  transferlab sweep [NAME] [KEY=VALUE]  a ready study of sweeps/ (without NAME: which there are)
  transferlab compare [STUDY|FOLDER]    the runs of a study, strategy by strategy
  transferlab list [GROUP]              what there is: strategies, sources, targets, backbones, ...

  transferlab train --help              axes, options, flags
  transferlab --version"""

TRAIN_USAGE = """transferlab train [KEY=VALUE ...]       one run
transferlab train -m [KEY=A,B ...]      every combination of the listed values

  --cfg job          show the whole composed config, and run nothing
  --config-dir D     add a folder of your own configs
  --config-name N    start from N.yaml instead of train.yaml
  --trust PACKAGE    let _target_ name things of this Python package
  --debug            show the traceback of an error
  --hydra-help       Hydra's own flags

Axes and their options (transferlab list GROUP says what each is):
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; an error is one sentence, its traceback shown only with `--debug`."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": train,
        "sweep": sweep,
        "compare": compare,
        "list": show,
    }
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if words[0] == "--version":
        print(f"transferlab {__version__}")
        return 0
    try:
        if words[0] not in commands:
            raise unknown("command", words[0], commands)
        return commands[words[0]](words[1:])
    except BrokenPipeError:  # whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("transferlab: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        else:
            print(f"transferlab: {sentence(error)}", file=sys.stderr)
        return 1


def sentence(error: BaseException) -> str:
    """An error in one line; what is no sentence of ours says its type, and how to see more."""
    if isinstance(error, (InputError, DivergedError)):
        return plain(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())} (--debug shows where)"


def train(words: list[str]) -> int:
    """Hydra's own command line, checked before anything heavy starts."""
    from hydra import version
    from hydra._internal.utils import _run_hydra, get_args_parser

    from transferlab.composing import Composer, arguments
    from transferlab.results import check_writable
    from transferlab.trust import trust

    if "--help" in words or "-h" in words:
        return _train_help(words)
    words, trusted = _taken(words, "--trust")
    trust(trusted)
    args = arguments(words)
    if not any(getattr(args, flag, None) for flag in _HYDRA_ONLY):
        with Composer(args.config_name or "train", args.config_dir) as composer:
            plan = composer.check(args.overrides, multirun=args.multirun)
        expect(plan.jobs)
        check_writable(plan.study)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hands us the exception itself; `main` makes a sentence of it
    os.environ[_PARENT] = str(os.getpid())
    _failures.clear()
    version.setbase("1.3")
    _run_hydra(
        args=args,
        args_parser=get_args_parser(),
        task_function=job,
        config_path=str(shipped("conf")),
        config_name="train",
    )
    if len(_failures) > 1:
        raise InputError(f"{len(_failures)} jobs failed, the first with: {sentence(_failures[0])}")
    if _failures:
        raise _failures[0]
    return 0


def job(config: DictConfig) -> float | None:
    """One job of Hydra's: skip what is done, else train; one line either way.

    Returns:
        The selected epoch's validation score, for sweepers that search.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from transferlab import results
    from transferlab.record import title

    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    number = int(HydraConfig.get().job.num) if multirun else 0
    folder = results.folder(config)
    before = results.read(folder)
    if before is not None and before["status"] in ("finished", "diverged"):
        _log.info("%s", _pace.line(number, f"{before['status']} before, skipped: {title(config)} ({folder})"))
        return _score(before)
    if before is not None:
        told = "trying again: %s failed before" if before["status"] == "failed" else "going on: %s did not end before"
        _log.info(told, title(config))
    from transferlab.train import run

    _pace.start()
    try:
        record = run(config)
    except Exception as error:
        if os.environ.get(_PARENT) != str(os.getpid()):
            raise  # in a worker process it is Hydra that carries it to the parent
        if multirun:
            _log.error("%s", _pace.line(number, f"{title(config)}: {sentence(error)}"))
        if not (multirun and isinstance(error, DivergedError)):
            _failures.append(error)
        return None
    _pace.stop()
    _log.info("%s", _pace.line(number, f"{title(config)}: {_outcome(record)} ({folder})"))
    return _score(record)


def sweep(words: list[str]) -> int:
    """A ready study: `sweeps/NAME.yaml` of this folder or of the package, as a Hydra multirun."""
    folders = [Path("sweeps"), shipped("sweeps")]
    found = {file.stem: file for folder in reversed(folders) for file in sorted(folder.glob("*.yaml"))}
    if not words:
        from transferlab.listing import first_comment

        for name, file in sorted(found.items()):
            print(f"{name:24s} {first_comment(file)}")
        return 0
    (name, *overrides), own = _taken(words, "--config-dir")
    if name not in found:
        raise unknown("sweep", name, found)
    if own:
        overrides.append(f"hydra.searchpath=[{','.join(Path(folder).resolve().as_uri() for folder in own)}]")
    return train(["--config-dir", str(found[name].parent), "--config-name", name, "--multirun", *overrides])


def compare(words: list[str]) -> int:
    """The comparison of a study."""
    parser = argparse.ArgumentParser(prog="transferlab compare", description="Compare the strategies of a study.")
    parser.add_argument("studies", nargs="*", help="names of studies, or folders of runs (default: the only study)")
    parser.add_argument("--runs", default="runs", help="where studies lie (paths.runs)")
    parser.add_argument("--baseline", default="scratch", help="the strategy that the others are paired with")
    parser.add_argument("--metric", default="test/accuracy", help="a metric of the records")
    parser.add_argument("--out", default=None, help="folder of the table and the plot (default: the study's)")
    from transferlab.composing import refuse

    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_args(words)
    from transferlab.compare.command import compare as carry_out

    carry_out(args.studies, Path(args.runs), args.baseline, args.metric, Path(args.out) if args.out else None)
    return 0


def show(words: list[str]) -> int:
    """The options of a group, one line each; the groups without one."""
    from transferlab.listing import groups, options, plural

    words, folders = _taken(words, "--config-dir")
    if not words:
        print("\n".join(plural(group) for group in groups([shipped("conf"), *map(Path, folders)])))
        return 0
    for name, comment in options(words[0], folders[-1] if folders else None):
        print(f"{name:24s} {comment}")
    return 0


def _train_help(words: Sequence[str]) -> int:
    from transferlab.listing import groups, options

    folders = _taken(words, "--config-dir")[1]
    print(TRAIN_USAGE)
    for group in groups([shipped("conf"), *map(Path, folders)]):
        print(f"  {group}: {', '.join(name for name, _ in options(group, folders[-1] if folders else None))}")
    return 0


def _taken(words: Sequence[str], flag: str) -> tuple[list[str], list[str]]:
    """The words without `flag VALUE` and `flag=VALUE`, and the values."""
    rest: list[str] = []
    values: list[str] = []
    waiting = False
    for word in words:
        if waiting:
            values.append(word)
            waiting = False
        elif word == flag:
            waiting = True
        elif word.startswith(f"{flag}="):
            values.append(word.partition("=")[2])
        else:
            rest.append(word)
    if waiting:
        raise InputError(f"{flag} needs a value")
    return rest, values


def _outcome(record: dict[str, object]) -> str:
    metrics, cost = record["metrics"], record["cost"]
    assert isinstance(metrics, dict) and isinstance(cost, dict)
    selected = metrics["selected"]
    scores = ", ".join(f"{key} {value:.4f}" for key, value in selected.items() if key == "test/accuracy")
    return f"{scores} (epoch {selected['epoch']}), {cost['seconds']:.1f} s"


def _score(record: dict[str, object]) -> float | None:
    metrics = record["metrics"]
    selected = metrics.get("selected") if isinstance(metrics, dict) else None
    return selected.get("val/accuracy") if isinstance(selected, dict) else None


if __name__ == "__main__":
    sys.exit(main())
