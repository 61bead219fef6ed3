"""What a study of many runs asks of the file system that it lies on: calls, and the time that they would take.

Studies are made up: records of ten strategies on two targets, the rest seeds, in folders as `train` leaves them, with
config, lock and an uploaded W&B log, but without weights; one run in a hundred failed. Of each command, a process of
its own, strace counts the system calls on the study's folder, which unlike seconds are the same on every machine:

    lookups   open, stat, ... of a path      changes  mkdir, unlink, rename, link, ...
    listings  of a folder                    locks, syncs, reads

All but reads are `calls`, each a round trip on a shared file system: `one_by_one_s` are their seconds at `--latency` a
call. `waiting_s` is what the command took when it waited so long at every file that it opened and folder that it
listed: less where several wait at once. Of --few runs are `again`, the command of a study of which everything is
finished; `train` and `tracked`, runs that train for an epoch on a source that is pretrained, without a tracker and with
W&B offline; `heads`, runs of which a head alone trains, on 128 images in files, with calls on these and on the cache
beside those on the study.

    python benchmarks/scale.py [--runs 10000 100000] [--few 20] [--latency 0.001] [--cases status compare ...]
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import numpy as np
import turns
from PIL import Image

from compare import STRATEGIES, make_record
from transferlab import cli, results
from transferlab.composing import Composer

TARGETS = ("digits", "usps")
EPOCHS = 20
KINDS = {
    "lookups": "open openat stat lstat newfstatat statx access faccessat2 readlink readlinkat",
    "changes": "mkdir mkdirat unlink unlinkat rename renameat2 rmdir link linkat symlink symlinkat chmod fchmodat",
    "listings": "getdents64",
    "locks": "flock",
    "syncs": "fsync fdatasync",
    "reads": "read pread64",
}
KIND_OF = {call: kind for kind, calls in KINDS.items() for call in calls.split()}
COMMANDS = {
    "status": ["status", "{study}"],
    "retry": ["retry", "{study}", "--dry-run"],
    "compare": ["compare", "{study}", "--out", "{out}"],
    "sync": ["sync", "{study}"],
    "clean": ["clean", "{study}", "--only", "failed,interrupted", "--yes"],
}
"""In their order: the last one takes failed runs away."""
SLOW = ("status", "compare")
WAITING = """
import sys, time
from transferlab import cli

study, latency = sys.argv[1], float(sys.argv[2])

def wait(event, given):
    if event in ("open", "os.scandir", "os.listdir") and str(given[0]).startswith(study):
        time.sleep(latency)

sys.addaudithook(wait)
sys.exit(cli.main(sys.argv[3:]))
"""
IMAGES = 128


def main() -> None:
    """A line a size and command, in JSON; exit 1 where calls grow faster than runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--few", type=int, default=20)
    parser.add_argument("--latency", type=float, default=0.001, help="of a round trip, in seconds")
    parser.add_argument("--cases", nargs="+", choices=(*COMMANDS, *FEW), default=(*COMMANDS, *FEW))
    args = parser.parse_args()
    if shutil.which("strace") is None:
        sys.exit("strace is needed, which counts system calls (apt-get install strace)")
    calls: dict[str, list[float]] = {}
    for runs in args.runs if {*args.cases} & {*COMMANDS} else []:
        with tempfile.TemporaryDirectory() as folder:
            study = made(Path(folder, "runs"), runs)
            turns.said("scale", case="folders", runs=runs, **space(study))
            for name in (name for name in COMMANDS if name in args.cases):
                words = [word.format(study=study, out=f"{folder}/out") for word in COMMANDS[name]]
                more = {} if name == "clean" else alone(words)
                more |= waiting(words, study, args.latency) if name in SLOW else {}
                line = counted(name, words, study, runs, args.latency, more)
                calls.setdefault(name, []).append(line["calls_a_run"])
    for name in (name for name in FEW if name in args.cases):
        with tempfile.TemporaryDirectory() as folder:
            words = FEW[name](Path(folder), args.few)
            counted(name, words, Path(folder, "runs", "few"), args.few, args.latency, {})
            for beside in ("images", "cache") if name == "heads" else ():
                other = [word.replace("study=few", f"study={beside}") for word in words]
                counted(f"heads, {beside}", other, Path(folder, beside), args.few, args.latency, {})
    sys.exit(int(any(found[-1] > 1.1 * found[0] for found in calls.values())))


def made(place: Path, runs: int) -> Path:
    """The folder of a made-up study."""
    study = place / "made_up"
    rng = np.random.default_rng(0)
    seeds = -(-runs // (len(STRATEGIES) * len(TARGETS)))
    rows: list[list[object] | None] = []
    for strategy, level in STRATEGIES:
        for target in TARGETS:
            first = make_record(rng, strategy, level - 0.1 * TARGETS.index(target), target, 0, EPOCHS, "made_up")
            like, score = files(first), first["metrics"]["selected"]["test/accuracy"]
            for seed in range(seeds):
                if len(rows) >= runs:
                    rows.append(None)
                    continue
                name = sha256(f"{strategy} {target} {seed}".encode()).hexdigest()[:10]
                changed = {first["run_id"]: name, '"seed": 0': f'"seed": {seed}'}
                changed[repr(score)] = repr(rng.normal(score, 0.02))
                if len(rows) % 100 == 99:
                    changed['"status": "finished"'] = '"status": "failed"'
                write(study, name, like, changed)
                rows.append([name, "mnist5k", target, strategy, "resnet18", seed])
    keys = {"strategy": [name for name, _ in STRATEGIES], "target": TARGETS, "seed": range(seeds)}
    lists = [[f"{key}={value}" for value in values] for key, values in keys.items()]
    plan = {"schema": 1, "config": {"name": "train", "dir": None, "path": None}, "hydra": [], "study": "made_up"}
    (study / "plans").mkdir()
    (study / "plans" / "made.json").write_text(json.dumps({**plan, "lists": lists, "runs": rows}))
    return study


def files(like: dict) -> dict[str, str]:
    """What lies in a run's folder, weights excepted; one file a name."""
    log = f"wandb/offline-run-20260101_000000-{like['run_id']}/run-{like['run_id']}.wandb"
    told = {"run.json": json.dumps(like, indent=1), "config.yaml": json.dumps(like["config"])}
    return {**told, **dict.fromkeys((results.LOCK, "samples.digests", log, f"{log}.synced"), "")}


def write(study: Path, name: str, like: dict[str, str], changed: dict[str, str]) -> None:
    """A run's folder, without waiting for the disk.

    Args:
        study: where it is to lie.
        name: of the run.
        like: the files of another.
        changed: what is written in them, and what takes its place.
    """
    (study / name / "wandb" / f"offline-run-20260101_000000-{name}").mkdir(parents=True)
    for file, text in like.items():
        for old, new in changed.items():
            file, text = file.replace(old, new), text.replace(old, new)
        (study / name / file).write_text(text)


def space(study: Path) -> dict[str, float]:
    """Inodes of a run, bytes of its record and of the study's plan."""
    inodes = sum(len(inside) + len(files) for _, inside, files in os.walk(study))
    records = [(run / "run.json").stat().st_size for run in study.iterdir() if run.name != "plans"]
    plan = sum(path.stat().st_size for path in (study / "plans").iterdir())
    told = {"inodes_a_run": inodes / len(records), "record_bytes": sum(records) / len(records), "plan_bytes": plan}
    return {name: turns.tidy(figure) for name, figure in told.items()}


def again(folder: Path, runs: int) -> list[str]:
    """A command that was begun, and of which every run has finished since."""
    words = ["train", "-m", "study=few", "source=none", "tracker=none", f"paths.runs={folder}/runs"]
    words.append(f"seed=range({runs})")
    launch, Composer.launch = Composer.launch, lambda *_: None  # type: ignore[assignment,method-assign]
    cli.main(words)
    Composer.launch = launch  # type: ignore[method-assign]
    (plan,) = (folder / "runs" / "few" / "plans").iterdir()
    first = make_record(np.random.default_rng(0), "full_finetune", 0.9, "digits", 0, EPOCHS, "few")
    for name, *_ in json.loads(plan.read_text())["runs"]:
        write(plan.parents[1], name, files(first), {first["run_id"]: name})
    return words


def train(folder: Path, runs: int, tracker: str = "none") -> list[str]:
    """A command whose runs train for an epoch, on a source that is pretrained now."""
    words = ["train", "-m", "source=mnist5k", "source.pretrain.max_epochs=1", "target=digits", "target.labels=5"]
    words += ["trainer.max_epochs=1", "trainer.accelerator=cpu", f"tracker={tracker}"]
    words += [f"paths.runs={folder}/runs", f"paths.cache={folder}/cache"]
    cli.main([*words, "study=before"])
    return [*words, "study=few", f"seed=range({runs})"]


def tracked(folder: Path, runs: int) -> list[str]:
    """Likewise, with W&B offline."""
    os.environ["WANDB_MODE"] = "offline"
    return train(folder, runs, "wandb")


def heads(folder: Path, runs: int) -> list[str]:
    """A command whose runs train a head alone, on a folder of images of which all activations are in the cache."""
    for number in range(IMAGES):
        part, kind = ("train", "test")[number % 2], "ab"[number // 2 % 2]
        (folder / "images" / part / kind).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / part / kind / f"{number}.png")
    words = ["train", "-m", "source=mnist5k", "source.pretrain.max_epochs=1", "strategy=linear_probe", "cache=on"]
    words += ["target=folder", f"target.data.root={folder}/images", "target.labels=all", "trainer.max_epochs=1"]
    words += ["trainer.accelerator=cpu", "tracker=none", f"paths.runs={folder}/runs", f"paths.cache={folder}/cache"]
    cli.main([*words, "study=before"])
    return [*words, "study=few", f"seed=range({runs})"]


FEW = {"again": again, "train": train, "tracked": tracked, "heads": heads}


def counted(name: str, words: list[str], study: Path, runs: int, latency: float, more: dict) -> dict:
    """Count the calls of a command, and print them with more figures of it."""
    counts = traced(["-s", "0", "-y", "-e", f"trace={','.join(KIND_OF)}"], words, study)
    calls = sum(counts.values()) - counts["reads"]
    each = {f"{kind}_a_run": turns.tidy(count / runs) for kind, count in counts.items()}
    told = {"calls_a_run": turns.tidy(calls / runs), "one_by_one_s": turns.tidy(calls * latency)}
    return turns.said("scale", case=name, runs=runs, **each, **told, **more)


def traced(options: Iterable[str], words: list[str], study: Path) -> Counter[str]:
    """How many calls of each kind a command makes on what is in a folder."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        log = f"{folder}/log"
        process(["strace", "-f", "-qq", "--seccomp-bpf", "-o", log, *options, *command(words)])
        with open(log, errors="replace") as lines:
            for line in lines:
                # the attributes of what is open came with it, and the end of a listing with the listing
                beside = re.search(r'newfstatat\(\d+<[^>]*>, "",|/\* 0 entries \*/', line)
                if str(study) in line and beside is None and (name := re.match(r"\d+ +(\w+)\(", line)):
                    counts[KIND_OF[name[1]]] += 1
    return counts


def alone(words: list[str]) -> dict[str, float]:
    """Seconds of a command by itself, those of the processor, and its memory."""
    seconds, usage = process(command(words))
    told = {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
    return {name: turns.tidy(figure) for name, figure in told.items()}


def waiting(words: list[str], study: Path, latency: float) -> dict[str, float]:
    """Seconds of a command that waits whenever it opens or lists something of the study."""
    seconds, _ = process([sys.executable, "-c", WAITING, str(study), str(latency), *words])
    return {"waiting_s": turns.tidy(seconds)}


def command(words: list[str]) -> list[str]:
    """The command in a process of its own."""
    return [sys.executable, "-m", "transferlab.cli", *words]


def process(words: list[str]):
    """Seconds by the clock and what it used; the benchmark ends if it fails."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        started = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(started.pid, 0)
        if status:
            said.seek(0)
            sys.exit(said.read())
    return time.perf_counter() - began, usage


if __name__ == "__main__":
    main()
