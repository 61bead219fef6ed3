"""The benchmark page's correlations: what follows from its figures, and what is known not to."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import weightedtau

HERE = Path(__file__).parents[2] / "experiments" / "transferability_published"


def rows(name):
    with (HERE / name).open() as file:
        return list(csv.DictReader(file))


def columns(target, *names):
    mine = [row for row in rows("scores.csv") if row["target"] == target]
    return [np.array([float(row[name]) for row in mine]) for name in names]


@pytest.mark.parametrize(
    ("target", "score", "published"),
    [("CIFAR-10", "logme", 0.785), ("SUN397", "logme", 0.748), ("Cars", "nce", 0.750), ("CIFAR-100", "leep", 0.659)],
)
def test_what_follows_from_the_page(target, score, published):
    assert round(weightedtau(*columns(target, score, "accuracy")).statistic, 3) == published


def test_the_tau_of_cifar_100_hangs_on_two_models_that_are_printed_alike():
    scores, accuracy = columns("CIFAR-100", "logme", "accuracy")
    first, second = np.flatnonzero(scores == 1.051)
    taus = []
    for above in (first, second):
        broken = scores.copy()
        broken[above] += 1e-4
        taus.append(round(weightedtau(broken, accuracy).statistic, 3))
    assert round(weightedtau(scores, accuracy).statistic, 3) == 0.783
    assert sorted(taus) == [0.766, 0.790]


def test_the_slip_is_kept_as_printed_and_seen():
    logme, nce = columns("DTD", "logme", "nce")
    assert (logme == nce).all() and (nce > 0).all()
    assert all((nce < 0).all() for target in ("Aircraft", "SUN397") for nce in columns(target, "nce"))


def test_ten_models_on_eight_targets():
    models = {(row["target"], row["model"]) for row in rows("scores.csv")}
    assert len(models) == len(rows("scores.csv")) == 80
    assert len(rows("published.csv")) == 16 and len(rows("ours.csv")) == 32
