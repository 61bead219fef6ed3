"""Print the study's table: python table.py WORK/supervised/comparison/runs.csv.

Of each strategy's two rates the better one by accuracy on held-out labels, the mean over three seeds; then its accuracy
on the test split, and the difference to plain fine-tuning chosen alike, paired by seed.
"""

import sys

import pandas as pd
from scipy import stats

runs = pd.read_csv(sys.argv[1])
runs["labels"] = runs["target"].str.extract(r"target\.labels=(\d+)").astype(int)
# a rate that every strategy was given stands beside the target, one that some were given beside the strategy
runs["rate"] = (runs["target"] + " " + runs["strategy"]).str.extract(r"optimizer\.lr=(\S+)")
runs["score"] *= 100

rows = {}
for (labels, strategy), found in runs.groupby(["labels", "method"]):
    validated = found.groupby("rate")["val"].mean()
    chosen = found[found["rate"] == validated.idxmax()].set_index("seed")
    rows[strategy, labels] = chosen
for strategy in sorted({name for name, _ in rows}, key=lambda name: -rows[name, 20]["score"].mean()):
    cells = []
    for labels in (5, 10, 20):
        own, plain = rows[strategy, labels], rows["full_finetune", labels]
        gain = own["score"] - plain["score"]
        low, high = stats.t.interval(0.95, len(gain) - 1, gain.mean(), stats.sem(gain))
        cells.append(
            f"{own['score'].mean():.1f} ± {own['score'].std():.1f} | "
            + ("" if strategy == "full_finetune" else f"{gain.mean():+.1f} [{low:+.1f}, {high:+.1f}]")
            + f" | {own['rate'].iloc[0]}"
        )
    print(f"| {strategy} | " + " | ".join(cells) + f" | {rows[strategy, 20]['seconds'].mean():.0f} |")
