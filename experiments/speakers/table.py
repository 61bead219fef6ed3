"""Print the means over the speakers: python table.py WORK/runs/speakers/comparison/runs.csv.

Each seed's mean over the six speakers is one observation; differences to scratch are paired by seed, then by speaker.
"""

import sys

import pandas as pd
from scipy import stats

runs = pd.read_csv(sys.argv[1])
runs["speaker"] = runs["target"].str.extract(r" target\.data\.train_speakers=\['(\w+)'\]")
runs["labels"] = runs["target"].str.extract(r"target\.labels=(\d+)").astype(int)
runs["score"] *= 100


def interval(values: pd.Series) -> str:
    """Student's 95 % interval of a mean."""
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    return f"[{low:+.1f}, {high:+.1f}]"


for labels, few in runs.groupby("labels"):
    scores = few.pivot_table(index="speaker", columns=["strategy", "seed"], values="score")
    for strategy in few["strategy"].unique():
        own, gain = scores[strategy], scores[strategy] - scores["scratch"]
        print(f"{labels} a digit, {strategy}: {own.mean().mean():.1f} ± {own.mean().std():.1f}", end="")
        if strategy != "scratch":
            print(
                f"; to scratch {gain.mean().mean():+.1f} {interval(gain.mean())} {interval(gain.mean(axis=1))}", end=""
            )
        print(":", ", ".join(f"{name} {row.mean():.1f} ± {row.std():.1f}" for name, row in own.iterrows()))
