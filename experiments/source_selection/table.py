"""Print taus and regrets as Markdown, and write taus.csv and regret.csv: python table.py WORK.

A tau is of the order of the seven trained sources under a score with that of the mean test accuracy of their runs,
three seeds each, at one rate; 1 where both are the same. A regret is what was chosen short of the best candidate, in
points.
"""

import sys
from pathlib import Path

import pandas as pd

here = Path(__file__).parent
STRATEGIES = {"full_finetune": "fine-tuning", "lp_ft": "LP-FT", "linear_probe": "linear probe"}

taus, regrets = [], []
for folder in sorted(Path(sys.argv[1]).glob("source_selection_*/")):
    name = folder.name.removeprefix("source_selection_")
    told = pd.read_csv(folder / "comparison" / "foretold.csv")
    rate = told.pop("target").str.extract(r"optimizer\.lr=(\S+)")[0]
    taus.append(told.assign(target=name, rate=rate.astype(float)))
    regrets.append(pd.read_csv(folder / "selection" / "regret.csv").assign(target=name))

every = pd.concat(taus)[["target", "strategy", "rate", "score", "tau", "candidates"]].sort_values(
    ["target", "strategy", "rate", "score"]
)
every.round(3).to_csv(here / "taus.csv", index=False)
lost = pd.concat(regrets).sort_values(["target", "budget"])
lost.round(4).to_csv(here / "regret.csv", index=False)

for strategy, called in STRATEGIES.items():
    runs = every[every["strategy"] == strategy]
    place = runs["target"] + ", " + runs["rate"].map("{:g}".format)
    table = runs.assign(place=place).pivot(index="score", columns="place", values="tau")
    table = table.assign(mean=table.mean(axis=1)).sort_values("mean", ascending=False)
    print(f"\n| {called} | {' | '.join(table.columns)} |\n|" + " --- |" * (len(table.columns) + 1))
    for score, row in table.iterrows():
        print(f"| {score} | {' | '.join(f'{value:.2f}' for value in row)} |")

print("\n| | 10 % | 25 % | 50 % | chance | always fine-tuning |\n|" + " --- |" * 6)
for target, group in lost.groupby("target", sort=False):
    cells = [f"{100 * row.selected:.1f} ({row.guarded:.0%})" for row in group.itertuples()]
    cells += [f"{100 * group[column].iloc[0]:.1f}" for column in ("chance", "always")]
    print(f"| {target} | {' | '.join(cells)} |")
means = 100 * lost.groupby("budget")[["selected", "chance", "always"]].mean()
cells = [f"{value:.1f}" for value in (*means["selected"], means["chance"].iloc[0], means["always"].iloc[0])]
print(f"| mean | {' | '.join(cells)} |")
