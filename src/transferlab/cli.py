"""The command `transferlab`. Torch is imported when a run trains, not before."""

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from transferlab import __version__
from transferlab.errors import InputError, unknown
from transferlab.folders import shipped
from transferlab.jobs import sentence
from transferlab.progress import expect
from transferlab.withheld import hidden

_HYDRA_ONLY = ("hydra_help", "cfg", "info", "shell_completion", "version")

USAGE = """transferlab: which way to transfer is better, by how much, how surely and at what cost

  transferlab train [KEY=VALUE ...]     one run: source x target x strategy x backbone
  transferlab train -m KEY=A,B ...      many runs: every combination of the listed values
  transferlab sweep [NAME] [KEY=VALUE]  a ready study of sweeps/, or FILE.yaml (without NAME: which there are)
  transferlab status [STUDY|FOLDER]     which of its runs are finished, running, failed or missing, and the time left
  transferlab retry [STUDY|FOLDER]      run again what failed, was interrupted or is missing
  transferlab clean [STUDY|FOLDER]      remove failed and interrupted runs, and what killed ones left; asks first
  transferlab compare [STUDY|FOLDER]    the runs of a study, strategy by strategy
  transferlab rank [KEY=VALUE ...]      which source and backbone fit a target, before anything trains
  transferlab select KEY=A,B ...        which of many ways to take, found within a budget
  transferlab soup [STUDY|FOLDER]       the weights of its finished runs averaged: soups
  transferlab sync [STUDY|FOLDER]       what its runs logged offline uploaded to W&B, each log once
  transferlab cache [check|clear]       activations kept for all runs: which there are, whether they are whole, away
  transferlab list [GROUP]              what there is: strategies, sources, targets, backbones, ...

  transferlab train --help              axes, options, flags
  transferlab --version"""

_ROOMS = {
    "status": "transferlab.ledger.status",
    "retry": "transferlab.retrying",
    "clean": "transferlab.ledger.clean",
    "compare": "transferlab.compare.command",
    "rank": "transferlab.ranking.command",
    "select": "transferlab.deciding.command",
    "soup": "transferlab.souping.command",
    "sync": "transferlab.syncing",
    "cache": "transferlab.cache.command",
}

TRAIN_USAGE = """transferlab train [KEY=VALUE ...]       one run
transferlab train -m [KEY=A,B ...]      every combination of the listed values

  --cfg job          show the whole composed config, and run nothing
  --config-dir D     add a folder of your own configs
  --config-name N    start from N.yaml instead of train.yaml
  --fresh N          after a search, run the best configuration of each strategy on N seeds that no trial had
  --dry-run          list the runs, how many are finished and the time left, and run nothing
  --trust PACKAGE    let _target_ name things of this Python package
  --debug            show the traceback of an error
  --hydra-help       Hydra's own flags

Axes and their options (transferlab list GROUP says what each is):
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; an error is one sentence, its traceback shown only with `--debug`."""
    words = list(sys.argv[1:] if argv is None else argv)
    words, debug = _without(words, "--debug")
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if words[0] == "--version":
        print(f"transferlab {__version__}")
        return 0
    try:
        _carry_out(words[0], words[1:])
        return 0
    except BrokenPipeError:  # whoever read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("transferlab: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            print(hidden(traceback.format_exc()), end="", file=sys.stderr)
        else:
            print(f"transferlab: {sentence(error)}", file=sys.stderr)
        return 1


def _carry_out(command: str, words: list[str]) -> None:
    """A command of this file; else of its room, which reads its words and has a function of its name."""
    here: dict[str, Callable[[list[str]], None]] = {"train": train, "sweep": sweep, "list": show}
    if command in here:
        here[command](words)
    elif command in _ROOMS:
        room = import_module(_ROOMS[command])
        getattr(room, command)(room.options(words))
    else:
        raise unknown("command", command, [*here, *_ROOMS])


def train(words: list[str]) -> None:
    """Hydra's own command line, checked before anything heavy starts."""
    from transferlab import agent, jobs, twins, withheld
    from transferlab.composing import Composer, arguments
    from transferlab.files import check_writable
    from transferlab.ledger import plans, rehearsal
    from transferlab.search.planning import fresh_seeds
    from transferlab.trust import trust

    if "--help" in words or "-h" in words:
        _train_help(words)
        return
    withheld.check(words)
    words = agent.words(words)
    words, trusted = _taken(words, "--trust")
    trust(trusted)
    words, dry = _without(words, "--dry-run")
    words, fresh = _taken(words, "--fresh")
    args = arguments(words)
    if any(getattr(args, flag, None) for flag in _HYDRA_ONLY):
        jobs.show(args)
        return
    with Composer(args.config_name or "train", args.config_dir, args.config_path) as composer:
        plan = composer.check(args.overrides, multirun=args.multirun)
        if fresh:
            args.overrides.append(fresh_seeds(plan, fresh[-1]))
            plan = composer.check(args.overrides, multirun=args.multirun)
        beside = twins.command(composer, plan)
        parts = [plan, *([composer.check(beside, multirun=True)] if beside else [])]
        more = sum(part.jobs for part in parts[1:])
        if dry:
            rehearsal.rehearse(composer, parts)
            return
        expect(plan.jobs + more)
        check_writable(plan.study)
        for part in parts:
            plans.leave(composer, part)
        if beside:
            told = f"twins=true: {beside[0]} run too ({more} more jobs), for the others to be judged against"
            print(told, file=sys.stderr)
        jobs.begin()
        composer.launch(jobs.job, args.overrides, plan.multirun, plan.jobs)
        if beside:
            expect(plan.jobs + more, before=plan.jobs)
            composer.launch(jobs.job, beside, True, more)
        jobs.end()


def sweep(words: list[str]) -> None:
    """A ready study as a Hydra multirun: `sweeps/NAME.yaml` of this folder or of the package, or a yaml by its path."""
    folders = [Path("sweeps"), shipped("sweeps")]
    words, dry = _without(words, "--dry-run")
    found = {file.stem: file for folder in reversed(folders) for file in sorted(folder.glob("*.yaml"))}
    if not words:
        from transferlab.listing import first_comment

        for name, file in sorted(found.items()):
            print(f"{name:24s} {first_comment(file)}")
        return
    (name, *overrides), own = _taken(words, "--config-dir")
    file = _study(name, found)
    if dry:
        overrides.append("--dry-run")
    if own:
        overrides.append(f"hydra.searchpath=[{','.join(Path(folder).resolve().as_uri() for folder in own)}]")
    train(["--config-dir", str(file.parent), "--config-name", file.stem, "--multirun", *overrides])


def _study(name: str, found: Mapping[str, Path]) -> Path:
    """The yaml of a ready study, by its name or its path."""
    if name in found:
        return found[name]
    if (file := Path(name)).name == name and not file.suffix:
        raise unknown("sweep", name, found)
    if file.suffix != ".yaml" or not file.is_file():
        raise InputError(
            f"sweep {name}: there is no such .yaml file; `transferlab sweep` lists the studies with a name"
        )
    return file


def show(words: list[str]) -> None:
    """The options of a group, one line each; the groups without one."""
    from transferlab.listing import groups, options, plural

    words, folders = _taken(words, "--config-dir")
    if not words:
        print("\n".join(plural(group) for group in groups([shipped("conf"), *map(Path, folders)])))
        return
    for name, comment in options(words[0], folders[-1] if folders else None):
        print(f"{name:24s} {comment}")


def _train_help(words: Sequence[str]) -> None:
    from transferlab.listing import groups, options

    folders = _taken(words, "--config-dir")[1]
    print(TRAIN_USAGE)
    for group in groups([shipped("conf"), *map(Path, folders)]):
        print(f"  {group}: {', '.join(name for name, _ in options(group, folders[-1] if folders else None))}")


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


def _without(words: Sequence[str], flag: str) -> tuple[list[str], bool]:
    """The words without a flag, and whether it was among them."""
    return [word for word in words if word != flag], flag in words


if __name__ == "__main__":
    sys.exit(main())
