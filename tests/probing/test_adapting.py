"""Shallow adaptation: the papers' formulas, scikit-learn's classifiers, and runs that say what was found."""

import json
from collections.abc import Iterator
from functools import partial
from itertools import product
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from scipy.optimize import minimize
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from records import record
from transferlab import cli, extras
from transferlab.errors import InputError
from transferlab.shallow import adapting
from transferlab.shallow.adapting import coral, kmm, subspace_alignment, tca, ulsif, unchanged
from transferlab.shallow.joint import jda
from transferlab.shallow.solver import Shallow, logits, normalised

SHAPES = (st.integers(5, 14), st.integers(5, 14), st.integers(2, 6), st.integers(0, 99))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def domains(n: int, m: int, features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    source = draw.normal(size=(n, features))
    return source, 1 + draw.normal(size=(m, features)) @ draw.normal(size=(features, features))


@settings(max_examples=20, deadline=None)
@given(*SHAPES)
def test_coral_gives_the_source_the_targets_covariance(n: int, m: int, features: int, seed: int) -> None:
    source, target = domains(n, m, features, seed)
    found = coral(source, target, 0.5)

    def shrunk(x: np.ndarray) -> np.ndarray:
        covariance = np.cov(x.T, bias=True)
        return 0.5 * covariance + 0.5 * np.trace(covariance) / features * np.eye(features)

    turned = linalg.sqrtm(np.linalg.inv(shrunk(source))) @ linalg.sqrtm(shrunk(target))
    np.testing.assert_allclose(found.source, (source - source.mean(0)) @ turned, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(turned.T @ shrunk(source) @ turned, shrunk(target), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.target(target[:2]), target[:2] - target.mean(0), atol=1e-12)


def test_of_standardised_features_half_a_shrinkage_is_the_papers_identity() -> None:
    source, target = (normalised(x, "zscore_per_domain")(x) for x in domains(40, 30, 5, 0))
    plus = [np.cov(x.T, bias=True) + np.eye(5) for x in (source, target)]
    turned = linalg.sqrtm(np.linalg.inv(plus[0])) @ linalg.sqrtm(plus[1])
    np.testing.assert_allclose(coral(source, target, 0.5).source, source @ turned, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(*SHAPES, st.sampled_from(["linear", "rbf"]), st.sampled_from([0.1, 100.0]))
def test_tca_is_at_the_optimum_of_the_papers_criterion(
    n: int, m: int, features: int, seed: int, kernel: str, mu: float
) -> None:
    source, target = domains(n, m, features, seed)
    both = np.concatenate([source, target])
    gram = both @ both.T
    if kernel == "rbf":
        gram = np.array([[exp(-((a - b) ** 2).sum() / features) for b in both] for a in both])
    apart = np.repeat([1 / n, -1 / m], [n, m])
    held = np.eye(n + m) + mu * gram @ np.outer(apart, apart) @ gram
    spread = gram @ (np.eye(n + m) - 1 / (n + m)) @ gram
    values, vectors = linalg.eig(np.linalg.solve(held, spread))
    leading = vectors[:, np.argsort(-values.real)[:2]].real
    found = tca(source, target, 2, kernel, mu)
    angles = linalg.subspace_angles(gram @ leading, np.concatenate([found.source, found.target(target)]))
    assert np.cos(angles).min() > 1 - 1e-6


@settings(max_examples=20, deadline=None)
@given(*SHAPES, st.sampled_from(["linear", "rbf"]), st.sampled_from([0.01, 1.0]))
def test_jda_is_at_the_optimum_of_the_papers_criterion(
    n: int, m: int, features: int, seed: int, kernel: str, regularization: float
) -> None:
    source, target = domains(n, m, features, seed)
    classes = np.arange(n) % 3, np.arange(m) % 2  # one is predicted nowhere
    both = np.concatenate([source, target])
    both /= np.linalg.norm(both, axis=1)[:, None]
    gram = both @ both.T
    if kernel == "rbf":
        gram = np.array([[exp(-((a - b) ** 2).sum() / features) for b in both] for a in both])
    distances = np.zeros((n + m, n + m))
    for one, other in [(np.ones(n), np.ones(m)), *((classes[0] == c, classes[1] == c) for c in (0, 1))]:
        apart = np.concatenate([one / one.sum(), -(other / other.sum())])
        distances += np.outer(apart, apart)
    held = gram @ distances @ gram + regularization * np.eye(n + m)
    spread = gram @ (np.eye(n + m) - 1 / (n + m)) @ gram
    values, vectors = linalg.eig(np.linalg.solve(held, spread))
    leading = vectors[:, np.argsort(-values.real)[:2]].real
    # scores as long as the criterion has them; each sample's are of length 1 then
    scores = gram @ (leading / np.sqrt(np.einsum("nd,nk,kd->d", leading, held, leading)))
    scores /= np.linalg.norm(scores, axis=1)[:, None]
    found = jda(source, target, 2, kernel, regularization, classes)
    mine = np.concatenate([found.source, found.target(target)])
    np.testing.assert_allclose(mine @ mine.T, scores @ scores.T, atol=1e-5)


def moved() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three classes, each of which lies elsewhere in the target."""
    draw, y = np.random.default_rng(0), np.arange(60) % 3
    source, target = (3 * np.eye(3)[y] @ draw.normal(size=(3, 6)) + draw.normal(size=(60, 6)) for _ in range(2))
    return source, y, target


def test_jda_brings_the_classes_of_both_domains_together() -> None:
    source, y, target = moved()

    def apart(classes: tuple[np.ndarray, np.ndarray] | None) -> float:
        found = jda(source, target, 2, "linear", 0.01, classes)
        ours, theirs = found.source, found.target(target)
        return sum(float(((ours[y == one].mean(0) - theirs[y == one].mean(0)) ** 2).sum()) for one in range(3))

    assert apart((y, y)) < 0.5 * apart(None)


def test_each_round_adapts_by_the_classes_that_the_one_before_predicts() -> None:
    source, y, target = moved()
    ours = partial(jda, components=2, kernel="linear", regularization=0.01)
    predicted = None
    for rounds in (1, 2, 3):
        found = ours(source, target, classes=None if predicted is None else (y, predicted))
        predicted = KNeighborsClassifier(1).fit(found.source, y).predict(found.target(target))
        fitted = shallow(ours, rounds=rounds).fit(source, y, target, ("a", "b", "c"), 0)
        assert (fitted.target(target).argmax(1) == predicted).all()


@settings(max_examples=20, deadline=None)
@given(*SHAPES)
def test_subspace_alignment_is_the_papers_products(n: int, m: int, features: int, seed: int) -> None:
    source, target = domains(n, m, features, seed)
    of_source, of_target = (np.linalg.svd(x - x.mean(0))[2][:2].T for x in (source, target))
    found = subspace_alignment(source, target, 2)
    # signs of components are free, and distances do not depend on them
    wanted = (source - source.mean(0)) @ of_source @ of_source.T @ of_target
    np.testing.assert_allclose(np.abs(found.source), np.abs(wanted), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(np.abs(found.target(target)), np.abs((target - target.mean(0)) @ of_target), atol=1e-8)


def test_kmm_is_near_the_optimum_of_its_quadratic_programme() -> None:
    source, target = domains(12, 9, 2, 3)
    inside = np.array([[exp(-0.5 * ((a - b) ** 2).sum()) for b in source] for a in source])
    across = np.array([12 / 9 * sum(exp(-0.5 * ((a - b) ** 2).sum()) for b in target) for a in source])

    def objective(b: np.ndarray) -> float:
        return float(0.5 * b @ inside @ b - across @ b)

    slack = 12 * (1 - 1 / np.sqrt(12))
    held = [{"type": "ineq", "fun": lambda b: slack - abs(b.sum() - 12)}]
    best = minimize(objective, np.ones(12), bounds=[(0, None)] * 12, constraints=held, method="SLSQP")
    found = kmm(source, target, 0.5, 5000).weights
    assert found is not None and found.mean() == pytest.approx(1)
    # weights are told up to their scale
    scale = best.x.sum() / 12
    assert objective(found * scale) <= best.fun + 0.01 * abs(best.fun)


@settings(max_examples=20, deadline=None)
@given(*SHAPES)
def test_ulsif_is_the_papers_closed_form(n: int, m: int, features: int, seed: int) -> None:
    source, target = domains(n, m, features, seed)
    sigma = np.median([np.linalg.norm(x - c) for x, c in product(source, target)])

    def kernels(x: np.ndarray) -> list[float]:
        return [exp(-(np.linalg.norm(x - c) ** 2) / (2 * sigma**2)) for c in target]

    h = [sum(kernels(x)[k] for x in target) / m for k in range(m)]
    squares = [[sum(kernels(x)[k] * kernels(x)[j] for x in source) / n for j in range(m)] for k in range(m)]
    alpha = np.maximum(0, np.linalg.solve(np.array(squares) + 0.1 * np.eye(m), h))
    wanted = np.array([alpha @ kernels(x) for x in source])
    found = ulsif(source, target, 100, 1.0, 0.1).weights
    np.testing.assert_allclose(found, wanted / wanted.mean(), rtol=1e-6)


def test_samples_where_the_target_lies_weigh_more() -> None:
    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(200, 1)), draw.normal(1.0, 0.5, size=(150, 1))
    for found in (ulsif(source, target, 50, 0.5, 0.1), kmm(source, target, 1.0, 1000)):
        assert found.weights is not None
        assert np.average(source[:, 0], weights=found.weights) == pytest.approx(1.0, abs=0.25)


def test_rows_are_divided_by_their_sums_and_domains_standardised() -> None:
    x = np.random.default_rng(0).integers(1, 9, (30, 4)).astype(float)
    shares = x / x.sum(1)[:, None]
    found = normalised(x, "rows_sum_then_zscore")(x)
    np.testing.assert_allclose(found, (shares - shares.mean(0)) / shares.std(0))
    one = np.concatenate([x, np.ones((30, 1))], 1)
    assert (normalised(one, "zscore_per_domain")(one)[:, 4] == 0).all()
    assert normalised(x, "none")(x) is x
    for bad in (x - 5, np.zeros((3, 4))):
        with pytest.raises(InputError, match="is for histograms"):
            normalised(bad, "rows_sum_then_zscore")


def shallow(adapt: Any = unchanged, classifier: str = "nearest", **given: Any) -> Shallow:
    settings = {"normalise": "none", "neighbours": 1, "C": [1.0], "folds": 3, "source_labels": None, "rounds": 1}
    return Shallow(**{**settings, "adapt": adapt, "classifier": classifier, **given})


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    source, target = domains(60, 40, 4, 0)
    return source, np.arange(60) % 3, target


def test_without_adaptation_it_is_scikit_learns_classifier() -> None:
    source, y, target = problem()
    for name, theirs in (("nearest", KNeighborsClassifier(1)), ("svm", SVC(kernel="linear", break_ties=True))):
        found = shallow(classifier=name).fit(source, y, target, ("a", "b", "c"), 0)
        assert (found.target(target).argmax(1) == theirs.fit(source, y).predict(target)).all(), name


def test_weights_are_taken_as_so_many_samples() -> None:
    source, y, target = problem()
    twice = np.where(np.arange(60) < 20, 2.0, 1.0)

    def weighed(x: np.ndarray, _: np.ndarray) -> adapting.Adapted:
        return adapting.Adapted(x, np.asarray, twice)

    found = shallow(weighed, "logistic").fit(source, y, target, ("a", "b", "c"), 0)
    more = np.concatenate([source, source[:20]])
    other = shallow(classifier="logistic").fit(more, np.concatenate([y, y[:20]]), target, ("a", "b", "c"), 0)
    np.testing.assert_allclose(found.target(target), other.target(target), atol=1e-3)
    with pytest.raises(InputError, match="has no use for weights"):
        shallow(weighed).fit(source, y, target, ("a", "b", "c"), 0)


def test_of_several_penalties_one_is_chosen_on_the_source() -> None:
    source, y, target = problem()
    found = shallow(classifier="svm", C=[1e-6, 1.0]).fit(
        10 * np.eye(3)[y] + source[:, :3], y, target[:, :3], ("a",) * 3, 0
    )
    assert found.C == 1.0
    with pytest.raises(InputError, match="a class of the source has fewer samples"):
        shallow(classifier="svm", C=[1, 2], folds=21).fit(source, y, target, ("a", "b", "c"), 0)


def test_source_labels_are_drawn_by_the_seed() -> None:
    source, y, target = problem()
    few = shallow(source_labels=4)
    first, again, other = (few.fit(source, y, target, ("a", "b", "c"), seed) for seed in (0, 0, 1))
    assert np.bincount(first.y).tolist() == [4, 4, 4]
    assert (first.target(target) == again.target(target)).all()
    assert (first.target(target) != other.target(target)).any()


def test_two_classes_have_two_logits() -> None:
    source, y, _ = problem()
    classifier = SVC(kernel="linear").fit(source, y % 2)
    assert (logits(classifier, source).argmax(1) == classifier.predict(source)).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"normalise": "rows"}, "none, zscore_per_domain or rows_sum_then_zscore"),
        ({"classifier": "tree"}, "nearest, logistic or svm"),
        ({"C": [0.0]}, "each C above 0"),
        ({"rounds": 0}, "rounds are at least 1"),
        ({"rounds": 2}, "does not look at classes"),
    ],
)
def test_settings_out_of_range_are_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        shallow(**given)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda s, t: coral(s, t, 0.0), "above 0, at most 1"),
        (lambda s, t: tca(s, t, 101, "linear", 1.0), "1 to 100"),
        (lambda s, t: tca(s, t, 2, "cosine", 1.0), "linear, rbf"),
        (lambda s, t: jda(s, t, 101, "linear", 1.0), "1 to 100"),
        (lambda s, t: jda(s, t, 2, "linear", 0.0), "regularization is above 0"),
        (lambda s, t: subspace_alignment(s, t, 5), "1 to 4"),
        (lambda s, t: kmm(s, t, -1.0, 5), "gamma above 0"),
        (lambda s, t: ulsif(s, t, 0, 1.0, 1.0), "centres is at least 1"),
        (lambda s, t: ulsif(0 * s, 0 * t, 5, 1.0, 1.0), "nothing to weigh by"),
    ],
)
def test_what_cannot_be_adapted_is_said(asked: Any, said: str) -> None:
    source, _, target = problem()
    with pytest.raises(InputError, match=said):
        asked(source, target)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(extras, "import_module", missing)
    with pytest.raises(InputError, match=r"pip install 'transferlab\[adaptation\]'"):
        coral(np.eye(3), np.eye(3), 0.5)


def run(study: str, *words: str, code: int = 0) -> dict[str, Any]:
    """A run between two small tables of three classes, that of the target moved and stretched."""
    draw, y = np.random.default_rng(0), np.arange(90) % 3
    x = 4 * np.eye(5)[y] + draw.normal(size=(90, 5))
    np.savez("source.npz", x_train=x, y_train=y)
    np.savez("target.npz", x_train=2 * x + draw.normal(size=(90, 5)) + 1, y_train=y)
    own = ["source=npz", "source.pretrain.target.data.path=source.npz", "target=npz", "target.data.path=target.npz"]
    own += ["backbone=mlp", "input@backbone.input=table", "backbone.input.shape=[5]", "backbone.widths=[8]"]
    own += ["target.labels=none", "strategy=nearest", "strategy.start=random", "selection=last", "diagnostics=none"]
    own += ["tracker=none", "trainer.accelerator=cpu", f"study={study}"]
    assert cli.main(["train", *own, *words]) == code
    return record(study) if code == 0 else {}


def test_a_run_has_one_row_and_leaves_the_net_as_it_was() -> None:
    found = run("s")
    (row,) = found["history"]
    assert row["train/task_loss"] == pytest.approx(0, abs=1e-5)  # each sample is its own neighbour
    assert row["trainable"] == [] and found["cost"]["trainable_parameters"] == 0
    assert found["metrics"]["selected"]["test/accuracy"] == found["metrics"]["last"]["test/accuracy"] > 0.6
    assert found["report"]["samples"] == found["data"]["sizes"]["test"]
    assert found["cost"]["samples"] == found["data"]["sizes"]["unlabeled"]
    assert found["cost"]["flops"] > 0
    other = run("t", "strategy=coral")
    assert found["selected.pt"].keys() == other["selected.pt"].keys() >= {"head.weight", "head.bias"}
    assert all(torch.equal(value, other["selected.pt"][key]) for key, value in found["selected.pt"].items())
    assert other["history"][0]["train/C"] == 1.0


def test_labels_that_are_seen_validate_and_train_nothing() -> None:
    found = run("s", "target.labels=20", "selection=target_val", "oracle=true", "cache=off")
    (row,) = found["history"]
    assert found["metrics"]["selected"]["val/accuracy"] == row["val/accuracy"] > 0.6
    assert found["metrics"]["oracle"]["test/accuracy"] == found["metrics"]["last"]["test/accuracy"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["selection=entropy"], "selection=last rules=none"),
        (["rules=all"], "selection=last rules=none"),
        (["strategy=coral", "strategy.solver.C=[1,2]", "strategy.solver.folds=50"], "has fewer samples"),
        (["strategy=kmm", "strategy.solver.classifier=nearest"], "has no use for weights"),
    ],
)
def test_what_does_not_go_with_it_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("s", *words, code=1)
    assert said in capsys.readouterr().err
    (file,) = Path("runs", "s").glob("*/run.json")
    assert json.loads(file.read_text())["status"] == "failed"


SURF = ["source=office_caltech10_surf", "target=office_caltech10_surf", "target.test=all", "diagnostics=none"]
SURF += ["backbone=mlp", "input@backbone.input=table", "backbone.input.shape=[800]", "backbone.widths=[]"]
SURF += ["strategy.solver.normalise=rows_sum_then_zscore"]


@pytest.mark.parametrize(
    ("source", "target", "strategy", "published"),
    [
        ("dslr", "webcam", "nearest", 63.39),
        ("caltech10", "webcam", "nearest", 25.76),
        ("webcam", "dslr", "tca", 87.26),
    ],
)
def test_published_accuracies_come_out(
    source: str, target: str, strategy: str, published: float, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFERLAB_DATA", str(real_data))
    names = [f"source.pretrain.target.data.name={source}", f"target.data.name={target}", f"strategy={strategy}"]
    own = ["target.labels=none", "strategy.start=random", "selection=last", "tracker=none", "study=s"]
    assert cli.main(["train", *names, *own, *SURF, "trainer.accelerator=cpu"]) == 0
    assert round(100 * record("s")["metrics"]["last"]["test/accuracy"], 2) == published
