"""How time and memory of a cached linear probe grow with samples, epochs, runs and feature width.

One size grows at a time, from where the others stand. Images are noise of 32x32 in one .npz file, the frozen net is a
small convnet with random weights, whose last width is that of its features:

    ours   the real command with an empty cache and cache=on; several runs are learning rates and seeds of one
           hydra/launcher=vectorized
    plain  the plain PyTorch loop of a tutorial: the images in a TensorDataset, a DataLoader, frozen parameters, the
           whole net in every step, a fifth held out and looked at after every epoch; several runs one after another

Every point is a process of its own. Seconds are processor time without imports, the kernel's included; of each way the
smallest turn, 64 samples, one epoch, one run, is its start. `exponent` is the slope of the time beyond the start over
the size, both as logarithms: 1 is growth in proportion. Memory is the most that the process held, with its libraries;
`grown_mb` is what of it is beyond the start. Ours has to stay below the plain loop's in every point.

    python benchmarks/growth.py [--out growth.png] [--axis samples ...] [--rounds 1] [--quick]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import command
import turns
from clock import leave_out_imports, worked

WAYS = ("ours", "plain")
STANDING = {"samples": 2000, "epochs": 10, "runs": 1, "width": 256}
START = {"samples": 64, "epochs": 1, "runs": 1, "width": 256}
GROWING = {
    "samples": (500, 1000, 2000, 4000, 8000),
    "epochs": (10, 20, 40, 80),
    "runs": (1, 2, 4, 8),
    "width": (64, 128, 256, 512, 1024),
}
QUICK = {"samples": (500, 1000), "epochs": (2, 4), "runs": (2, 4), "width": (64, 128)}
SIDE, CLASSES, BATCH, LR, HELD_OUT = 32, 10, 32, 0.001, 0.2


def main() -> None:
    """Take turns, print a table and a JSON line for each size that grows, draw them; exit 1 if ours holds more."""
    parser = turns.parser(__doc__, rounds=1)
    parser.add_argument("--out", type=Path, default=Path("growth.png"), help="the plot")
    parser.add_argument("--axis", choices=GROWING, nargs="+", default=list(GROWING))
    parser.add_argument("--quick", action="store_true", help="small sizes, to try it out")
    args = parser.parse_args()
    if args.turn:
        leave_out_imports()
        way, *sizes = args.turn.split()
        print(json.dumps({"ours": ours, "plain": plain}[way](dict(zip(STANDING, map(int, sizes), strict=True)), args)))
        return
    standing = STANDING | {"samples": 500, "epochs": 2} if args.quick else STANDING
    axes = {axis: [standing | {axis: size} for size in (QUICK if args.quick else GROWING)[axis]] for axis in args.axis}
    points = [START, *(point for grown in axes.values() for point in grown)]
    found = turns.taken(dict.fromkeys(name(way, point) for point in points for way in WAYS), args)
    lines = [turns.said("growth", **measured(axis, grown, found)) for axis, grown in axes.items()]
    drawn(lines, args.out)
    turns.ended(lines)


def name(way: str, point: dict[str, int]) -> str:
    """Of a turn."""
    return " ".join([way, *map(str, point.values())])


def measured(axis: str, points: list[dict[str, int]], found: dict[str, list[dict]]) -> dict:
    """A line, after a table of its points."""
    line: dict = {"axis": axis, "sizes": [point[axis] for point in points], "exponent": {}}
    for way in WAYS:
        turned = [found[name(way, point)] for point in points]
        (start, least), *figures = [spent(turn) for turn in (found[name(way, START)], *turned)]
        line[f"{way}_s"], line[f"{way}_mb"] = ([one[place] for one in figures] for place in (0, 1))
        line |= {f"{way}_start_s": start, f"{way}_grown_mb": [most - least for most in line[f"{way}_mb"]]}
        line["exponent"][way] = slope(line["sizes"], [seconds - start for seconds in line[f"{way}_s"]])
    line["kept"] = all(mine < theirs for mine, theirs in zip(line["ours_mb"], line["plain_mb"], strict=True))
    columns = [f"{way}_{unit}" for unit in ("s", "mb", "grown_mb") for way in WAYS]
    print("\n" + " ".join(f"{column:>13}" for column in (axis, *columns)))
    for row in zip(line["sizes"], *(line[column] for column in columns), strict=True):
        print(" ".join(f"{value:>13.5g}" for value in row))
    print(" ".join(f"{value!s:>13}" for value in ("exponent", *line["exponent"].values())))
    return line


def spent(turned: list[dict]) -> tuple[float, int]:
    """Seconds, and the most MB, of a point's turns."""
    most = max(one["peak_bytes"] for one in turned)
    return turns.tidy(median(one["seconds"] for one in turned)), round(most / 1e6)


def slope(sizes: list[int], seconds: list[float]) -> float | None:
    """Of a straight line through logarithms; None: a time is no longer than the start's."""
    import numpy as np

    if min(seconds) <= 0:
        return None
    return round(float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0]), 2)


def ours(sizes: dict[str, int], args: argparse.Namespace) -> dict:
    """The real command."""
    from transferlab import environment
    from transferlab.together import training

    environment._CLEAR = Path(os.devnull)  # a run begins its peak of memory anew; here it is that of the process
    spent = command.of_data_and_fit((training, "together"))
    words = [*command.QUIET, "source=none", "strategy=linear_probe", "strategy.start=random", "cache=on", "target=npz"]
    words += [f"target.data.path={written(sizes, args.place)}", f"target.validation={HELD_OUT}", f"batch_size={BATCH}"]
    words += ["backbone=convnet", f"backbone.widths=[32,64,{sizes['width']}]", f"trainer.max_epochs={sizes['epochs']}"]
    words += ["backbone.input.shape=[3,32,32]", "optimizer=adam", "scheduler=constant"]
    own = f"{args.place}/{'-'.join(map(str, sizes.values()))}"  # another point's cache would help this one
    words += [f"paths.runs={own}/runs", f"paths.cache={own}/cache"]
    if sizes["runs"] == 1:
        command.train(*words, f"optimizer.lr={LR}")
    else:
        rates = ",".join(str(LR * (1 + number)) for number in range(sizes["runs"] // 2))
        command.train("-m", *words, "hydra/launcher=vectorized", f"optimizer.lr={rates}", "seed=0,1")
    return {"seconds": spent(), "peak_bytes": peak()}


def plain(sizes: dict[str, int], args: argparse.Namespace) -> dict:
    """A tutorial's loop."""
    import numpy as np
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, TensorDataset, random_split

    def block(channels, width):
        return [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]

    def pixels(x):
        return (x.float() / 255 - 0.5) / 0.5

    def accuracy(data):
        with torch.no_grad():
            right = [(net(pixels(x)).argmax(1) == y).sum() for x, y in DataLoader(data, BATCH)]
        return int(sum(right)) / len(data)

    file = written(sizes, args.place)
    began = worked()
    with np.load(file) as arrays:
        x, y = (torch.from_numpy(arrays[f"{key}_train"]) for key in "xy")
        test = TensorDataset(torch.from_numpy(arrays["x_test"]).permute(0, 3, 1, 2), torch.from_numpy(arrays["y_test"]))
    train, val = random_split(TensorDataset(x.permute(0, 3, 1, 2), y), [1 - HELD_OUT, HELD_OUT])
    for _ in range(sizes["runs"]):
        features = [*block(3, 32), *block(32, 64), *block(64, sizes["width"]), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        head = nn.Linear(sizes["width"], CLASSES)
        net = nn.Sequential(*features, head).eval()
        net[:-1].requires_grad_(False)
        optimizer = torch.optim.Adam(head.parameters(), lr=LR)
        for _ in range(sizes["epochs"]):
            for images, labels in DataLoader(train, BATCH, shuffle=True):
                optimizer.zero_grad()
                cross_entropy(net(pixels(images)), labels).backward()
                optimizer.step()
            accuracy(val)
        accuracy(test)
    return {"seconds": worked() - began, "peak_bytes": peak()}


def written(sizes: dict[str, int], place: str) -> Path:
    """Images, written by whoever needs them first, a tenth as many for the test."""
    file = Path(place, f"{sizes['samples']}.npz")
    if not file.exists():
        # by another process, so that drawing them is no part of this one's memory
        subprocess.run([sys.executable, "-c", DRAW, str(file), str(sizes["samples"])], check=True)
    return file


DRAW = f"""
import sys
import numpy as np
rng, samples = np.random.default_rng(0), int(sys.argv[2])
count = samples + max(samples // 10, {CLASSES})
x, y = rng.integers(0, 256, (count, {SIDE}, {SIDE}, 3), dtype=np.uint8), np.arange(count) % {CLASSES}
np.savez(sys.argv[1], x_train=x[:samples], y_train=y[:samples], x_test=x[samples:], y_test=y[samples:])
"""


def peak() -> int:
    """Bytes, of this process alone as long as the one that starts it holds less."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def drawn(lines: list[dict], out: Path) -> None:
    """Time above, memory below, a column for each size that grows."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(lines), figsize=(4 * len(lines), 6), sharex="col", squeeze=False)
    for column, line in enumerate(lines):
        for row, (unit, title) in enumerate((("s", "processor seconds"), ("mb", "peak memory, MB"))):
            place = axes[row, column]
            for way in WAYS:
                exponent = f", exponent {line['exponent'][way]}" if unit == "s" else ""
                place.plot(line["sizes"], line[f"{way}_{unit}"], marker="o", label=way + exponent)
            place.set_xscale("log", base=2)
            place.set_ylabel(title if column == 0 else "")
            place.legend()
        axes[0, column].set_yscale("log")
        axes[1, column].set_ylim(bottom=0)
        axes[1, column].set_xlabel(line["axis"])
    figure.tight_layout()
    figure.savefig(out)


if __name__ == "__main__":
    main()
