"""Candidates as a net might make them, for the tests of the scores."""

from dataclasses import replace

import numpy as np

from transferlab.transferability.baselines import neighbours_accuracy, probe_accuracy
from transferlab.transferability.candidate import Candidate
from transferlab.transferability.cka import linear_cka
from transferlab.transferability.distances import coral_distance, frechet_distance, mean_distance, mmd_distance
from transferlab.transferability.gbc import gbc
from transferlab.transferability.hscore import h_score, shrunk_h_score
from transferlab.transferability.leep import leep, nce
from transferlab.transferability.logme import logme
from transferlab.transferability.nleep import nleep
from transferlab.transferability.otdd import otdd_distance
from transferlab.transferability.proxy_a import proxy_a_distance
from transferlab.transferability.task2vec import task2vec_distance
from transferlab.transferability.transrate import transrate

SCORES = {
    "leep": leep,
    "nce": nce,
    "nleep": lambda one: nleep(one, energy=0.8, components=2),
    "logme": logme,
    "h_score": h_score,
    "shrunk_h_score": shrunk_h_score,
    "gbc": lambda one: gbc(one, covariance="spherical", floor=1e-4),
    "gbc_diagonal": lambda one: gbc(one, covariance="diagonal", floor=1e-4),
    "transrate": lambda one: transrate(one, distortion=1e-2),
    "neighbours_accuracy": lambda one: neighbours_accuracy(one, neighbours=3),
    "probe_accuracy": lambda one: probe_accuracy(one, penalty=1.0, folds=2),
}
DISTANCES = {
    "mean_distance": mean_distance,
    "mmd_distance": lambda one: mmd_distance(one, kernels=3, factor=2.0, bandwidth="median"),
    "coral_distance": coral_distance,
    "frechet_distance": frechet_distance,
    "proxy_a_distance": lambda one: proxy_a_distance(one, penalty=1.0, folds=2),
    "otdd_distance": otdd_distance,
    "task2vec_distance": task2vec_distance,
}
ALL = {**SCORES, **DISTANCES, "linear_cka": linear_cka}


def drawn(samples=24, size=4, classes=3, source=20, seed=0, apart=1.0):
    """Features that tell their classes apart a little, with everything that a score may ask for."""
    rng = np.random.default_rng(seed)
    places = apart * rng.normal(size=(classes, size))
    y, ys = rng.permutation(np.arange(samples) % classes), rng.permutation(np.arange(source) % classes)
    logits = rng.normal(size=(samples, classes + 2)) + 2 * np.eye(classes, classes + 2)[y]
    p = np.exp(logits)
    return Candidate(
        features=places[y] + rng.normal(size=(samples, size)),
        labels=y,
        probabilities=p / p.sum(1, keepdims=True),
        source_features=places[ys] + rng.normal(size=(source, size)) + 0.5,
        source_labels=ys,
        reference=rng.normal(size=(samples, size + 1)),
        embedding=rng.random(7),
        source_embedding=rng.random(7),
    )


def reordered(one, seed=0):
    """The same samples in another order."""
    rng = np.random.default_rng(seed)
    target, source = rng.permutation(len(one.features)), rng.permutation(len(one.source_features))
    parts = {name: getattr(one, name)[target] for name in ("features", "labels", "probabilities", "reference")}
    parts |= {name: getattr(one, name)[source] for name in ("source_features", "source_labels")}
    return replace(one, **parts)


def moved(one, rotation, offset=0.0, scale=1.0):
    """The same with all features rotated, scaled, and shifted."""
    return replace(
        one,
        features=scale * one.features @ rotation + offset,
        source_features=scale * one.source_features @ rotation + offset,
    )


def rotation(size, seed=0):
    """Orthogonal (size, size)."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def exchanged(one):
    """Source and target in each other's place."""
    return replace(
        one,
        features=one.source_features,
        labels=one.source_labels,
        source_features=one.features,
        source_labels=one.labels,
        embedding=one.source_embedding,
        source_embedding=one.embedding,
        probabilities=None,
        reference=None,
    )


def beside_itself(one):
    """The target as its own source."""
    return replace(one, source_features=one.features, source_labels=one.labels, source_embedding=one.embedding)
