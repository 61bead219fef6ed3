"""What a command takes until its first training step, beside the bare imports of torch and Lightning.

A convnet on 64 images of 32x32 that lie in a file, on the CPU. Three kinds of turns, each a process of its own, in
alternation:

    run      imports torch and Lightning, then does the real command without tracker and diagnostics: what the process
             took until its first training step by what it took until the imports were done
    jobs     the same with -m and two seeds: from the end of the first job to the first step of the second
    tracked  as `run`, with W&B offline; what it adds between imports and first step

Seconds are processor time, the kernel's and that of child processes included, which unlike the clock does not grow when
somebody else uses the machine; `wall` is the clock's. Figures are medians of the turns with their range; ratios are
taken within a process, differences within a round.

    python benchmarks/startup.py [--rounds 5] [--threads 1]
"""

import json
import os
import tempfile
import time
from pathlib import Path

import command
import turns
from turns import spread

LIMIT = 1.25  # of the bare imports
TURNS = ("run", "jobs", "tracked")
IMAGES, CLASSES = 64, 10


def main() -> None:
    """Take turns, print four JSON lines; exit 1 if the command is above its limit."""
    args = turns.parser(__doc__, rounds=5).parse_args()
    if args.turn:
        print(json.dumps(measured(args.turn)))
        return
    turns.turn("run", "", args.threads)  # what is read and compiled once lies in memory and on the disk then
    found = turns.taken(TURNS, args)
    ratios = [one["first_step"]["cpu"] / one["imports"]["cpu"] for one in found["run"]]
    whole = seconds([one["first_step"] for one in found["run"]])
    tracked, plain = (seconds([behind_imports(one) for one in found[name]]) for name in ("tracked", "run"))
    extra = {key: [on - off for on, off in zip(tracked[key], plain[key], strict=True)] for key in plain}
    said("imports of torch and Lightning", spreads(seconds([one["imports"] for one in found["run"]])))
    promise = {"peer": "imports", "by_imports": spread(ratios), "promised": LIMIT}
    promise["kept"] = promise["by_imports"]["median"] <= LIMIT
    line = said("command to first step", spreads(whole) | promise)
    said("second job, to its first step", spreads(seconds([one["second"] for one in found["jobs"]])))
    said("W&B offline, added before the first step", spreads(extra))
    turns.ended([line])


def said(case: str, figures: dict) -> dict:
    """Print a line, and give it back."""
    return turns.said("startup", case=case, **figures)


def behind_imports(one: dict) -> dict[str, float]:
    """From the end of the imports to the first step."""
    return {key: moment - one["imports"][key] for key, moment in one["first_step"].items()}


def seconds(moments: list[dict[str, float]]) -> dict[str, list[float]]:
    """Processor's and clock's, one by one."""
    return {key: [one[key] for one in moments] for key in ("cpu", "wall")}


def spreads(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median and range of each."""
    return {key: spread(numbers) for key, numbers in times.items()}


def now() -> dict[str, float]:
    """Seconds since the process was asked for."""
    return {"cpu": sum(os.times()[:4]), "wall": time.time() - float(os.environ["TURN_BEGAN"])}


def measured(name: str) -> dict:
    """The imports, then the real command; the moments at which steps begin and jobs end are noted."""
    import pytorch_lightning  # noqa: F401
    import torch  # noqa: F401

    imported = now()
    from transferlab import jobs
    from transferlab.module import TransferModule

    steps: list[dict[str, float]] = []
    ends: list[tuple[int, dict[str, float]]] = []  # with the steps begun until then
    step, job = TransferModule.training_step, jobs.job

    def noted_step(*arguments):
        steps.append(now())
        return step(*arguments)

    def noted_job(config):
        score = job(config)
        ends.append((len(steps), now()))
        return score

    TransferModule.training_step, jobs.job = noted_step, noted_job  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        command.train(*words(name, Path(folder)))
    found = {"imports": imported, "first_step": steps[0]}
    if name == "jobs":
        until, ended = ends[0]
        found["second"] = {key: steps[until][key] - ended[key] for key in ended}
    return found


def words(name: str, folder: Path) -> list[str]:
    """Write the images; the command on them."""
    import numpy as np

    x = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    y = np.arange(IMAGES) % CLASSES
    np.savez(folder / "images.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    given = ["source=none", "strategy=full_finetune", "target=npz", f"target.data.path={folder}/images.npz"]
    given += ["backbone=convnet", "backbone.input.shape=[3,32,32]", "trainer.max_epochs=1", *command.QUIET]
    given += [f"paths.runs={folder}/runs", f"paths.cache={folder}/cache"]
    given += ["tracker=wandb", "tracker.mode=offline"] if name == "tracked" else []
    return given + (["-m", "seed=0,1"] if name == "jobs" else [])


if __name__ == "__main__":
    main()
