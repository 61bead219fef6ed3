"""A study whose processes are killed at random, started again by the same command until it ends with 0.

    joblib  workers and the command itself get SIGKILL
    ray     likewise, under Ray
    slurm   also jobs of Slurm get SIGKILL, or go back to the queue; needs a Slurm that answers

Half of the runs are L2-SP, half are linear probes whose activations are kept (fine-tuning under Slurm, where the
probes of a job are trained together, to round-off). All start from one pretraining, which may be killed too. The same
study is made in peace, in one process. Kills come after so many finished runs, drawn by a seed; three quarters wait
until they hit a run. The last line counts what was killed and what was found in the end: `equal` bit for bit, `almost`
to round-off, where a run was served kept activations that another run had computed in another batch. The status is 1 if
anything was lost, done twice, different, half-written or left running.

    python benchmarks/faults/study.py --launcher joblib --runs 60 --kills 20 --seed 0 [--folder DIR]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import findings
import schedule
from victims import KINDS, Victims

WORDS = "source=mnist5k target=digits backbone=convnet target.labels=10 optimizer.lr=0.03"
WORDS += " trainer.max_epochs=8 trainer.accelerator=cpu tracker=none diagnostics=none paths.cache=cache study=faults"
WORDS += " source.pretrain.trainer.max_epochs=2"
LAUNCHERS = {
    "joblib": "hydra/launcher=joblib hydra.launcher.n_jobs=2",
    "ray": "hydra/launcher=ray hydra.launcher.ray.init.num_cpus=2",
    "slurm": "hydra/launcher=slurm hydra.launcher.poll_seconds=1 hydra.launcher.runs_per_job=6 "
    "hydra.launcher.array_parallelism=2 hydra.launcher.name=faults",
}
PATIENCE = 90.0
"""Seconds that what a dead command started has to end; Ray's agents need a minute."""


def main(words=None) -> int:
    """Make the study in peace and under fire, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launcher", choices=LAUNCHERS, required=True)
    parser.add_argument("--runs", type=int, default=60, help="an even number")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--delay", type=float, default=3.0, help="seconds a kill may wait; few short runs end before")
    parser.add_argument("--folder", help="where both studies are kept; those in peace serve every launcher")
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(args.folder or place).resolve()
        strategies = "full_finetune,l2_sp" if args.launcher == "slurm" else "linear_probe,l2_sp"
        study = [*WORDS.split(), f"seed=range({args.runs // 2})", f"strategy={strategies}"]
        started(study, folder / "peace", "peace").wait()
        began = time.monotonic()
        told = under_fire([*study, *LAUNCHERS[args.launcher].split()], folder / args.launcher, args)
        seconds = round(time.monotonic() - began)
        found = findings.compared(folder / args.launcher / "runs", folder / "peace" / "runs", "faults")
        line = {"benchmark": "faults", "case": args.launcher, "runs": args.runs, **told, **found, "seconds": seconds}
        print(json.dumps(line), flush=True)
        counts = (line["finished"], line["equal"] + line["almost"], sum(line["kills"].values()))
        broken = any(line[name] for name in ("again", "half_written", "orphans", "others"))
        return 1 if broken or counts != (args.runs, args.runs, args.kills) else 0


def started(words: list[str], place: Path, log: str) -> subprocess.Popen:
    """The command, in a folder of its own; what it says is kept beside."""
    place.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (place / f"{log}.log").open("ab") as said:
        command = [sys.executable, "-m", "transferlab.cli", "train", "-m", *words]
        return subprocess.Popen(command, cwd=place, env=environment, stdout=said, stderr=said, start_new_session=True)


def under_fire(words: list[str], place: Path, args: argparse.Namespace) -> dict:
    """Repeat a command until it ends well, killing meanwhile; how often, what, and what outlived it."""
    plan = schedule.drawn(args.kills, args.runs, KINDS[args.launcher], args.seed, args.delay)
    kills, hit, commands = Counter(), 0, 0
    watch = findings.Watch(place / "runs" / "faults")
    victims = Victims(args.launcher, place)
    strays, began = schedule.Strays(PATIENCE), time.monotonic()
    while True:
        command, commands = started(words, place, "said"), commands + 1
        while command.poll() is None:
            watch.look()
            if args.launcher != "slurm":  # whose jobs outlive the command that sent them
                strays.seen(victims.strays(command.pid))
            due = plan.due(len(watch.finished))
            if due is not None and (running := victims.killed(due, command, plan.draw)) is not None:
                kills[due.kind] += 1
                hit += running
                plan.over()
                said = f"{len(watch.finished)} finished, {due.kind} killed with {running} runs under way"
                print(f"{time.monotonic() - began:5.0f} s: {said}", file=sys.stderr, flush=True)
            time.sleep(0.1)
        if command.returncode == 0:
            break
        if commands > 10 * args.kills:
            sys.exit(f"the command does not end well: {place}/said.log")
    until = time.monotonic() + PATIENCE
    while victims.left() and time.monotonic() < until:
        time.sleep(0.5)
    watch.look()
    orphans = len(strays.old) + len(victims.left())
    return {"kills": dict(kills), "hit": hit, "commands": commands, "again": watch.again, "orphans": orphans}


if __name__ == "__main__":
    sys.exit(main())
