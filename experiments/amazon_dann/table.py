"""Print what the runs scored beside what is published, and write ours.csv: python table.py WORK.

Accuracy in % on the target's test reviews, the mean and the standard deviation of the seeds. DANN's lambda is, for each
pair, that of the best score of reverse validation, the mean over seeds. The linear SVM is solved for here: C by
five-fold cross-validation on the source's training reviews.
"""

import csv
import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC

from transferlab.data.svmlight import amazon_dann

here = Path(__file__).parent
with (here / "published.csv").open() as file:
    published = {(row.pop("source"), row.pop("target")): row for row in csv.DictReader(file)}

# of each pair and strategy, by lambda: scores of the rule and of the test reviews, one a seed
found: dict[tuple[str, ...], dict[float, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
for path in sorted(Path(sys.argv[1]).glob("amazon_dann/*/run.json")):
    record = json.loads(path.read_text())
    assert record["status"] == "finished", path
    config, strategy = record["config"], record["axes"]["strategy"]
    pair = tuple(node["data"]["name"] for node in (config["source"]["pretrain"]["target"], config["target"]))
    loss = config["strategy"]["losses"].get("dann")
    factor = 0.0 if loss is None else float(loss["reversal"]["high"])
    scores = (record["rules"]["reverse"]["score"], 100 * record["metrics"]["selected"]["test/accuracy"])
    found[(*pair, strategy)][factor].append(scores)

reviews = {}
for name in ("books", "dvd", "electronics", "kitchen"):
    splits = amazon_dann(f"{os.environ['TRANSFERLAB_DATA']}/amazon_reviews/amazon_dann_svmlight", name)
    reviews[name] = [(csr_matrix(part.x.numpy()), part.y.numpy()) for part in (splits.train, splits.test)]
svm = {}
for source, (train, _) in reviews.items():
    grid = {"C": np.logspace(-5, 0, 10)}
    svm[source] = GridSearchCV(LinearSVC(max_iter=20000, random_state=0), grid, cv=5).fit(*train)


def ours(pair: tuple[str, str], strategy: str) -> tuple[str, list[float]]:
    """Lambda, and the scores of the seeds under it; none where nothing was run."""
    by_factor = found[(*pair, strategy)]
    if not by_factor:
        return "", []
    chosen = max(by_factor, key=lambda one: mean(score for score, _ in by_factor[one]))
    return f"{chosen:g}", [score for _, score in by_factor[chosen]]


def cell(scores: list[float]) -> str:
    """Mean and standard deviation in words."""
    if len(scores) < 2:
        return f"{scores[0]:.1f}" if scores else "not run yet"
    return f"{mean(scores):.1f} ± {stdev(scores):.1f}"


rows = []
for pair, theirs in published.items():
    nn, (factor, dann) = ours(pair, "source_only")[1], ours(pair, "dann")
    machine = 100 * svm[pair[0]].score(*reviews[pair[1]][1])
    rows.append((pair, theirs, nn, dann, factor, machine))

with (here / "ours.csv").open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["source", "target", "SVM", "source_only", "source_only_sd", "dann", "dann_sd", "lambda", "seeds"])
    for pair, _, nn, dann, factor, machine in rows:
        numbers = [f"{f(s):.2f}" if len(s) > 1 else "" for s in (nn, dann) for f in (mean, stdev)]
        writer.writerow([*pair, f"{machine:.2f}", *numbers, factor, len(nn)])

print("| | *SVM* | SVM | *NN* | source_only | *DANN* | dann | lambda |\n|" + " --- |" * 8)
for pair, theirs, nn, dann, factor, machine in rows:
    print(
        f"| {pair[0]} -> {pair[1]} | *{theirs['SVM']}* | {machine:.1f} | *{theirs['NN']}* | {cell(nn)} "
        f"| *{theirs['DANN']}* | {cell(dann)} | {factor} |"
    )
average = {key: mean(float(row[key]) for _, row, *_ in rows) for key in ("SVM", "NN", "DANN")}
means = [
    f"{mean(map(mean, group)):.1f}" if all(group) else "not run yet"
    for group in zip(*(row[2:4] for row in rows), strict=True)
]
print(
    f"| average | *{average['SVM']:.1f}* | {mean(row[-1] for row in rows):.1f} | *{average['NN']:.1f}* | {means[0]} "
    f"| *{average['DANN']:.1f}* | {means[1]} | |"
)
