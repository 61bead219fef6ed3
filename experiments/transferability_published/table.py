"""Recompute the correlations that a benchmark publishes from its own figures, and write ours.csv: python table.py.

Of each target and score: the published number, ours, and, where two models have the same printed figure, what the
number may be if the figures differ in digits that were not printed.
"""

import csv
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import numpy as np
from scipy.stats import pearsonr, rankdata, weightedtau

HERE = Path(__file__).parent
SCORES = ("h_score", "leep", "logme", "nce")


def read(name: str) -> list[dict[str, str]]:
    """The rows of a CSV of this folder."""
    with (HERE / name).open() as file:
        return list(csv.DictReader(file))


def untied(scores: np.ndarray) -> Iterator[np.ndarray]:
    """Ranks of the scores, with models of one score in every order."""
    ranks = rankdata(scores, method="min")
    groups = [np.flatnonzero(ranks == rank) for rank in np.unique(ranks)]
    for orders in product(*(permutations(range(len(group))) for group in groups)):
        found = ranks.copy()
        for group, order in zip(groups, orders, strict=True):
            found[group] += order
        yield found


def verdict(published: str, ours: str, within: set[str], repeated: bool) -> str:
    """What is to be said of one number."""
    if repeated:
        return "column repeats logme"
    if published == ours:
        return "comes out"
    return "comes out with a tie broken" if published in within else "does not come out"


def main() -> None:
    """Print the table, and write it."""
    rows, published = read("scores.csv"), read("published.csv")
    lines = []
    for target in dict.fromkeys(row["target"] for row in rows):
        mine = [row for row in rows if row["target"] == target]
        accuracy = np.array([float(row["accuracy"]) for row in mine])
        columns = {score: np.array([float(row[score]) for row in mine]) for score in SCORES}
        said = {row["measure"]: row for row in published if row["target"] == target}
        for score, values in columns.items():
            tau = f"{weightedtau(values, accuracy).statistic:.3f}"
            within = {f"{weightedtau(ranks, accuracy).statistic:.3f}" for ranks in untied(values)} - {tau}
            repeated = score == "nce" and np.array_equal(values, columns["logme"])
            lines.append(
                {
                    "target": target,
                    "score": score,
                    "published_tau": said["weighted_tau"][score],
                    "tau": tau,
                    "tau_untied": " or ".join(sorted(within)),
                    "published_pearson": said["pearson"][score],
                    "pearson": f"{pearsonr(values, accuracy).statistic:.3f}",
                    "verdict": verdict(said["weighted_tau"][score], tau, within, repeated),
                }
            )
    with (HERE / "ours.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    print("| target | score | *published* | ours | ties broken | *Pearson* | ours | verdict |\n|" + " --- |" * 8)
    for line in lines:
        *cells, word = line.values()
        cells[2], cells[5] = f"*{cells[2]}*", f"*{cells[5]}*"
        print("| " + " | ".join((*cells, word)) + " |")


if __name__ == "__main__":
    main()
