"""Print what the runs scored, and write ours.csv: python table.py WORK.

Accuracy in % on all photographs of the target after the last epoch, the mean and the standard deviation of the seeds;
of the selection rules, the mean over pairs and seeds of what the epoch that each chooses scores.
"""

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

here = Path(__file__).parent
short = {"amazon": "A", "caltech10": "C", "webcam": "W"}
pairs = [f"{one}->{other}" for one in "ACW" for other in "ACW" if one != other]
strategies = ["source_only", "dan", "deep_coral", "dann", "cdan", "mcc", "shot"]
METRIC = "test/accuracy"

last: dict[tuple[str, str], list[float]] = defaultdict(list)
rules: dict[tuple[str, str], list[float]] = defaultdict(list)
for path in sorted(Path(sys.argv[1]).glob("office_caltech10_photos/*/run.json")):
    record = json.loads(path.read_text())
    assert record["status"] == "finished", path
    config, strategy = record["config"], record["axes"]["strategy"]
    last[strategy, f"{short[config['from']]}->{short[config['to']]}"].append(100 * record["metrics"]["last"][METRIC])
    for name, chosen in record["rules"].items():
        rules[strategy, name].append(100 * chosen[METRIC])
    rules[strategy, "oracle"].append(100 * record["metrics"]["oracle"][METRIC])


def cell(scores: list[float]) -> str:
    """Mean and standard deviation in words."""
    if len(scores) < 2:
        return f"{scores[0]:.1f}" if scores else "not run yet"
    return f"{mean(scores):.1f} ± {stdev(scores):.1f}"


def average(strategy: str) -> float | None:
    """The mean over pairs, where all were run."""
    groups = [last[strategy, pair] for pair in pairs]
    return mean(map(mean, groups)) if all(groups) else None


with (here / "ours.csv").open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["strategy", "pair", "seeds", "mean", "sd"])
    for (strategy, pair), scores in sorted(last.items()):
        sd = f"{stdev(scores):.2f}" if len(scores) > 1 else ""
        writer.writerow([strategy, pair, len(scores), f"{mean(scores):.2f}", sd])

with (here / "published.csv").open() as file:
    published = list(csv.DictReader(file))
print("| | " + " | ".join(pairs) + " | average |\n|" + " --- |" * (len(pairs) + 2))
for row in published:
    values = [float(row[pair]) for pair in pairs]
    print(f"| *{row['method']}* | " + " | ".join(f"*{one:.1f}*" for one in values) + f" | *{mean(values):.1f}* |")
for strategy in strategies:
    overall = average(strategy)
    cells = [cell(last[strategy, pair]) for pair in pairs]
    print(f"| {strategy} | {' | '.join(cells)} | {'not run yet' if overall is None else f'{overall:.1f}'} |")

names = sorted({name for _, name in rules})
if names:
    print("\n| | " + " | ".join(names) + " |\n|" + " --- |" * (len(names) + 1))
for strategy in strategies if names else []:
    cells = [f"{mean(scores):.1f}" if (scores := rules[strategy, name]) else "" for name in names]
    print(f"| {strategy} | {' | '.join(cells)} |")
