from itertools import product
from math import exp, log, prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferlab.backbones.small import mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Observation, Setting, Step
from transferlab.losses.outputs.rules import connected, read
from transferlab.losses.outputs.semantic_loss import Group, SemanticLoss, by_count, semantic_loss
from transferlab.tasks.binary import Binary
from transferlab.tasks.classification import Classification
from transferlab.tasks.multilabel import MultiLabel
from transferlab.tasks.regression import Regression

NAMES = ("cat", "dog", "poodle", "cow", "barn", "sky")
MANY = MultiLabel(nn.Linear, "auroc", None)


def drawn(*shape, seed=0):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def grouped(rules, outputs=6):
    return [Group(group) for group in connected(read(rules, NAMES[:outputs], outputs))]


def obeys(state, rule):
    """Whether a tuple of truth values satisfies a rule over positions, in plain words."""
    ((kind, said),) = rule.items()
    true = [state[i] for i in (said["of"] if kind == "at_most" else said)]
    return {
        "implies": lambda: not (true[0] and not true[1]),
        "excludes": lambda: not any(a and b for i, a in enumerate(true) for b in true[:i]),
        "exactly_one": lambda: sum(true) == 1,
        "at_most": lambda: sum(true) <= said["k"],
    }[kind]()


def enumerated(logits, rules):
    """Definition 1 over all states of all outputs."""
    total = 0.0
    for row in logits.tolist():
        p = [1 / (1 + exp(-z)) for z in row]
        likely = 0.0
        for state in product([False, True], repeat=len(p)):
            if all(obeys(state, rule) for rule in rules):
                likely += prod(q if true else 1 - q for q, true in zip(p, state, strict=True))
        total -= log(likely) / len(logits)
    return total


@st.composite
def one_rule(draw, outputs):
    some = draw(st.permutations(range(outputs)))[: draw(st.integers(2, outputs))]
    kind = draw(st.sampled_from(["implies", "excludes", "exactly_one", "at_most"]))
    if kind == "at_most":
        return {kind: {"k": draw(st.integers(0, len(some) - 1)), "of": some}}
    return {kind: some[:2] if kind == "implies" else some}


@st.composite
def rules_of(draw, most=3):
    outputs = draw(st.integers(2, 6))
    return outputs, draw(st.lists(one_rule(outputs), min_size=1, max_size=most))


@settings(max_examples=60, deadline=None)
@given(rules_of(), st.integers(1, 4), st.integers(0, 99))
def test_it_is_definition_1_by_enumeration_whatever_the_rules(case, samples, seed):
    outputs, rules = case
    states = product([False, True], repeat=outputs)
    if not any(all(obeys(state, rule) for rule in rules) for state in states):
        with pytest.raises(InputError, match="contradict one another"):
            grouped(rules, outputs)
        return
    logits = drawn(samples, outputs, seed=seed)
    found = semantic_loss(logits, grouped(rules, outputs)).item()
    assert found == pytest.approx(enumerated(logits, rules), rel=1e-5, abs=1e-12)
    single = semantic_loss(logits.float(), grouped(rules, outputs)).item()
    assert single == pytest.approx(found, rel=1e-5)


def test_exactly_one_of_many_is_the_closed_form_of_the_paper():
    logits = drawn(3, 40)
    p = logits.sigmoid()
    alone = torch.stack([p[:, i] * (1 - p[:, [j for j in range(40) if j != i]]).prod(1) for i in range(40)])
    group = Group(read([{"exactly_one": list(range(40))}], (), 40))
    torch.testing.assert_close(semantic_loss(logits, [group]), -alone.sum(0).log().mean())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 33), st.data(), st.integers(0, 99))
def test_counts_are_those_of_the_product_of_polynomials(outputs, data, seed):
    most = data.draw(st.integers(0, outputs - 1))
    least = data.draw(st.integers(0, most))
    logits = drawn(1, outputs, seed=seed)
    held, broken = by_count(nn.functional.logsigmoid(logits), nn.functional.logsigmoid(-logits), least, most)
    counts = np.ones(1)
    for p in logits.sigmoid()[0].tolist():
        counts = np.convolve(counts, [1 - p, p])
    inside = slice(least, most + 1)
    assert held.item() == pytest.approx(log(counts[inside].sum()), rel=1e-6, abs=1e-12)
    assert broken.item() == pytest.approx(log(np.delete(counts, inside).sum()), rel=1e-6, abs=1e-12)


RULES = {
    "implies": [{"implies": ["poodle", "dog"]}],
    "excludes": [{"excludes": ["cat", "dog", "cow"]}],
    "exactly_one": [{"exactly_one": ["barn", "sky"]}],
    "at_most": [{"at_most": {"k": 2, "of": ["cat", "dog", "cow", "barn"]}}],
    "at_most none": [{"at_most": {"k": 0, "of": ["cat", "dog"]}}],
    "connected": [{"implies": ["poodle", "dog"]}, {"excludes": ["cat", "dog"]}, {"exactly_one": ["barn", "sky"]}],
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_gradients_are_right_on_both_sides_of_one_half(rules):
    groups = grouped(rules)
    for scale in (0.5, 3.0):
        logits = (scale * drawn(4, 6)).requires_grad_()
        assert torch.autograd.gradcheck(lambda z: semantic_loss(z, groups), logits)


# a state that satisfies every rule above, and one that breaks them all
GOOD, BAD = (0, 1, 1, 0, 0, 1), (1, 0, 1, 1, 1, 1)


@pytest.mark.parametrize("rules", [rules for name, rules in RULES.items() if name != "at_most none"])
@pytest.mark.parametrize("size", [30.0, 200.0, 1e4])
def test_a_satisfied_rule_costs_nothing_and_a_broken_one_its_way_back_in_float32(rules, size):
    for state, low, high in ((GOOD, 0, 1e-11), (BAD, size * 0.9, size * 3)):
        logits = (size * (2 * torch.tensor([state]).float() - 1)).requires_grad_()
        loss = semantic_loss(logits, grouped(rules))
        loss.backward()
        assert low <= loss.item() <= high
        assert logits.grad.isfinite().all()
        assert (logits.grad.abs().max() < 1e-11) == (state == GOOD)


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_loss_near_0_is_as_exact_as_a_large_one(rules):
    logits = 8 * (2 * torch.tensor([GOOD if rules != RULES["at_most none"] else (0,) * 6]).double() - 1)
    logits += drawn(1, 6)
    exact, single = semantic_loss(logits, grouped(rules)), semantic_loss(logits.float(), grouped(rules))
    assert 0 < exact < 0.02
    assert single.item() == pytest.approx(exact.item(), rel=1e-5)


def test_half_precision_around_it_changes_no_digit():
    logits, groups = drawn(4, 6).bfloat16(), grouped(RULES["connected"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = semantic_loss(logits, groups)
    torch.testing.assert_close(inside, semantic_loss(logits.double(), groups).float(), rtol=1e-5, atol=0)


def test_rules_that_share_no_class_are_groups_of_their_own():
    rules = read([{"implies": [0, 1]}, {"excludes": [2, 3]}, {"implies": [4, 5]}, {"exactly_one": [1, 4]}], (), 6)
    found = [{output for rule in group for output in rule.outputs} for group in connected(rules)]
    assert sorted(map(sorted, found)) == [[0, 1, 4, 5], [2, 3]]


def test_following_it_makes_the_outputs_obey():
    groups, logits = grouped(RULES["connected"]), drawn(8, 6).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        semantic_loss(logits, groups).backward()
        optimizer.step()
    places = [{"implies": [2, 1]}, {"excludes": [0, 1]}, {"exactly_one": [4, 5]}]
    assert all(obeys(row, rule) for row in (logits > 0).tolist() for rule in places)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return mlp(ArrayInput.of(6), [5]), nn.Linear(5, 6)


def setting(net, task, names=NAMES):
    return Setting(*net, task, {"target": len(names)}, torch.zeros(2, 6), True, names=names)


def step(net, task, y=None):
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    features = net[0](x)
    return Step(*net, task, {"target": Observation(x, y, {}, features, net[1](features))})


@pytest.mark.parametrize("task", [MANY, Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")])
def test_of_classes_and_of_several_labels_every_logit_counts_by_itself_and_no_label_is_read(net, task):
    rules = RULES["connected"]
    loss = SemanticLoss(1.0, rules)
    loss.prepare(setting(net, task))
    one = step(net, task)
    assert torch.equal(loss(one), semantic_loss(one.observed["target"].outputs, grouped(rules)))
    assert not loss.state_dict() and not list(loss.parameters())


def test_the_two_classes_of_a_binary_task_have_the_logits_minus_z_and_z(net):
    net, task = (net[0], nn.Linear(5, 1)), Binary(nn.Linear, "accuracy", None, 0.0)
    loss = SemanticLoss(1.0, [{"exactly_one": ["ham", "spam"]}])
    loss.prepare(setting(net, task, ("ham", "spam")))
    one = step(net, task)
    p = task.probabilities(one.observed["target"].outputs)
    torch.testing.assert_close(loss(one), -(p[:, 0] ** 2 + p[:, 1] ** 2).log().mean())


def test_a_task_without_classes_is_refused(net):
    with pytest.raises(InputError, match="choose task=multilabel, classification or binary"):
        SemanticLoss(1.0, RULES["implies"]).prepare(setting(net, Regression(nn.Linear, "loss", "squared")))


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([], "a list of one rule or more"),
        ("implies", "a list of one rule or more"),
        ({"implies": [0, 1]}, "a list of one rule or more"),
        ([["cat", "dog"]], r"rules\[0\]=.*one of implies"),
        ([{"implies": [0, 1]}, {"implies": [0, 1], "excludes": [0, 1]}], r"rules\[1\]=.*one of implies"),
        ([{"exclude": [0, 1]}], "there is no rule 'exclude'; did you mean 'excludes'"),
        ([{"implies": ["poodel", "dog"]}], "there is no class 'poodel'; did you mean 'poodle'"),
        ([{"implies": [0, 6]}], r"no class at position 6 \(they are counted from 0 to 5\)"),
        ([{"implies": [-1, 0]}], "no class at position -1"),
        ([{"implies": [0, 1, 2]}], "two classes, the first implies the second"),
        ([{"excludes": ["cat"]}], "a list of two classes or more"),
        ([{"excludes": "cat"}], "a list of two classes or more"),
        ([{"excludes": ["cat", 0]}], "a class is named twice"),
        ([{"at_most": ["cat", "dog"]}], "k and of"),
        ([{"at_most": {"k": 2, "of": ["cat", "dog"]}}], "from 0 to 1, as 2 classes are named"),
        ([{"at_most": {"k": True, "of": ["cat", "dog"]}}], "k=True"),
        (
            [{"exactly_one": ["cat", "dog"]}, {"at_most": {"k": 0, "of": ["dog", "cat"]}}],
            r"2 rules over the classes \[0, 1\].*contradict one another",
        ),
    ],
)
def test_what_is_no_rule_or_cannot_be_obeyed_is_said(rules, said, net):
    with pytest.raises(InputError, match=said):
        SemanticLoss(1.0, rules).prepare(setting(net, MANY))


def test_a_number_that_is_a_position_and_another_classs_name_is_refused_and_a_quoted_one_is_the_name():
    digits = ("1", "2", "3")
    with pytest.raises(InputError, match=r"1 is the position of '2' and another class's name.*in quotes"):
        read([{"excludes": [1, 2]}], digits, 3)
    assert read([{"excludes": ["1", "3"]}], digits, 3)[0].outputs == (0, 2)
    assert read([{"excludes": [1, 2]}], ("0", "1", "2"), 3)[0].outputs == (1, 2)


def test_too_many_connected_classes_are_said_and_one_count_may_have_any_number(net):
    names = tuple(f"c{number}" for number in range(18))
    chain = [{"implies": [i, i + 1]} for i in range(16)]
    with pytest.raises(InputError, match="16 rules have 17 classes in common, at most 16 are possible"):
        SemanticLoss(1.0, chain).prepare(setting(net, MANY, names))
    SemanticLoss(1.0, chain[:15]).prepare(setting(net, MANY, names))
    SemanticLoss(1.0, [{"exactly_one": list(range(18))}]).prepare(setting(net, MANY, names))
