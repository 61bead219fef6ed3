"""Print what the runs scored beside what is published, and write ours.csv: python table.py WORK.

Accuracy in % on the target's test split after the last epoch, the mean and the standard deviation of the seeds; beside
it that of the epochs that the rule `reverse`, which sees no label of the target, and the oracle choose, of the seeds
that were asked for them.
"""

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

here = Path(__file__).parent
pairs = ["MNIST->USPS", "USPS->MNIST"]
METRIC = "test/accuracy"

found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
for path in sorted(Path(sys.argv[1]).glob("digits_adaptation/*/run.json")):
    record = json.loads(path.read_text())
    assert record["status"] == "finished", path
    pair = f"{record['config']['from']}->{record['config']['to']}".upper()
    chosen = {"last": record["metrics"]["last"]}
    if "reverse" in record["rules"]:
        chosen |= {"oracle": record["metrics"]["oracle"], "reverse": record["rules"]["reverse"]}
    for rule, scores in chosen.items():
        found[record["axes"]["strategy"], pair, rule].append(100 * scores[METRIC])


def cell(scores: list[float]) -> str:
    """Mean and standard deviation in words."""
    if len(scores) < 2:
        return f"{scores[0]:.1f}" if scores else "not run yet"
    return f"{mean(scores):.1f} ± {stdev(scores):.1f}"


with (here / "ours.csv").open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["strategy", "pair", "epoch", "seeds", "mean", "sd"])
    for (strategy, pair, rule), scores in sorted(found.items()):
        sd = f"{stdev(scores):.2f}" if len(scores) > 1 else ""
        writer.writerow([strategy, pair, rule, len(scores), f"{mean(scores):.2f}", sd])

print(f"| | {pairs[0]} | reverse | oracle | {pairs[1]} | reverse | oracle |\n|" + " --- |" * 7)
with (here / "published.csv").open() as file:
    for row in csv.DictReader(file):
        cells = [f"*{row[pair]} ± {row[f'{pair} sd']}*" if row[pair] else "" for pair in pairs]
        print(f"| *{row['method']}, {row['protocol']}* | {cells[0]} | | | {cells[1]} | | |")
for strategy in ("source_only", "dann", "cdan"):
    cells = [cell(found[strategy, pair, rule]) for pair in pairs for rule in ("last", "reverse", "oracle")]
    print(f"| {strategy} | {' | '.join(cells)} |")
