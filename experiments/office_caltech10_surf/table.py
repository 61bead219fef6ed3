"""Print what the runs scored beside what is published, and write ours.csv: python table.py WORK.

Accuracy in % on all samples of the target; of 20 draws the mean, in brackets the standard deviation.
"""

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

here = Path(__file__).parent
short = {"caltech10": "C", "amazon": "A", "webcam": "W", "dslr": "D"}
tasks = [f"{one}->{other}" for one in "CAWD" for other in "CAWD" if one != other]

found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
for file in sorted(Path(sys.argv[1]).glob("surf*/*/run.json")):
    record = json.loads(file.read_text())
    assert record["status"] == "finished", file
    config = record["config"]
    solver = config["strategy"]["solver"]
    name = f"{record['axes']['strategy']}, {solver['classifier']}"
    if solver["classifier"] != "nearest":
        name += f", C={solver['C'][0]:g}" if len(solver["C"]) == 1 else ", C by cross-validation"
    name += ", 20 draws" if solver["source_labels"] else ""
    source, target = (node["data"]["name"] for node in (config["source"]["pretrain"]["target"], config["target"]))
    score = 100 * record["metrics"]["last"]["test/accuracy"]
    found[name][f"{short[source]}->{short[target]}"].append(score)

with (here / "published.csv").open() as file:
    published = {row["method"]: [float(row[task]) for task in tasks] for row in csv.DictReader(file)}

with (here / "ours.csv").open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["method", *tasks, "average"])
    for name, scores in sorted(found.items()):
        means = [mean(scores[task]) for task in tasks]
        writer.writerow([name, *(f"{one:.2f}" for one in means), f"{mean(means):.2f}"])

print("| | " + " | ".join(tasks) + " | average |\n|" + " --- |" * (len(tasks) + 2))
for name, values in published.items():
    print(f"| *{name}* | " + " | ".join(f"*{one:.2f}*" for one in values) + f" | *{mean(values):.2f}* |")
for name, scores in sorted(found.items()):
    cells = [f"{mean(scores[task]):.2f}" for task in tasks]
    if name.endswith("draws"):
        assert all(len(scores[task]) == 20 for task in tasks)
        cells = [f"{cell} ({stdev(scores[task]):.1f})" for cell, task in zip(cells, tasks, strict=True)]
    print(f"| {name} | " + " | ".join(cells) + f" | {mean(mean(scores[task]) for task in tasks):.2f} |")
