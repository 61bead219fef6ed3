from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transferlab.backbones.small import mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Observation, Setting, Step
from transferlab.losses.outputs.semantic_alignment import SemanticAlignment, semantic_alignment
from transferlab.tasks.classification import Classification

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")
WORDS = F.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
Y = torch.tensor([0, 2, 2, 1, 0])


@pytest.fixture
def projected():
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def test_the_ranking_form_is_equation_1_of_devise(projected):
    expected = 0.0
    for p, label in zip(projected, Y.tolist(), strict=True):
        for other in range(3):
            if other != label:
                expected += max(0.0, 0.1 - float(WORDS[label] @ p) + float(WORDS[other] @ p)) / 5
    assert semantic_alignment(projected, WORDS, Y, "ranking", 0.1).item() == pytest.approx(expected, rel=1e-6)


def test_the_other_forms_are_an_angle_and_a_distance_to_the_own_word(projected):
    angles = [1 - float(F.cosine_similarity(p, WORDS[label], dim=0)) for p, label in zip(projected, Y, strict=True)]
    squares = [float((p - WORDS[label]).norm() ** 2) for p, label in zip(projected, Y, strict=True)]
    assert semantic_alignment(projected, WORDS, Y, "cosine", 0.1).item() == pytest.approx(sum(angles) / 5, rel=1e-5)
    assert semantic_alignment(projected, WORDS, Y, "squared", 0.1).item() == pytest.approx(sum(squares) / 5, rel=1e-5)


@pytest.mark.parametrize(("form", "factor"), [("cosine", 3.0), ("squared", 1.0), ("ranking", 100.0)])
def test_it_is_0_on_the_words_themselves(form, factor):
    found = semantic_alignment(factor * WORDS[Y], WORDS, Y, form, 0.1)
    torch.testing.assert_close(found, torch.zeros(()), rtol=0, atol=1e-6)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return mlp(ArrayInput.of(6), [5]), nn.Linear(5, 3)


def setting(net, names=("cat", "dog", "old_boat")):
    return Setting(*net, TASK, {"target": 3}, torch.zeros(2, 6), True, None, names)


def loss(asked=None, form="cosine", margin=0.1):
    def language(words):
        if asked is not None:
            asked.append(words)
        return WORDS

    return SemanticAlignment(1.0, language, {"dog": "hound"}, form, margin)


def step(net):
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    features = net[0](x)
    return Step(*net, TASK, {"target": Observation(x, Y, {}, features, net[1](features))})


def test_it_trains_backbone_and_projection_and_leaves_words_and_head_alone(net):
    asked = []
    term = loss(asked)
    term.prepare(setting(net))
    assert asked == [("cat", "hound", "old boat")]
    present = step(net)
    value = term(present)
    expected = semantic_alignment(term.projection(present.observed["target"].features), WORDS, Y, "cosine", 0.1)
    torch.testing.assert_close(value, expected)
    value.backward()
    assert all(p.grad is None for p in net[1].parameters())
    assert all(p.grad is not None for p in (*net[0].parameters(), *term.projection.parameters()))
    assert set(term.state_dict()) == {"words", "projection.weight", "projection.bias"}
    assert {name for name, _ in term.named_parameters()} == {"projection.weight", "projection.bias"}


def test_steps_against_its_gradient_bring_features_to_their_words(net):
    term = loss()
    term.prepare(setting(net))
    optimizer = torch.optim.SGD([*net[0].parameters(), *term.projection.parameters()], lr=0.5)
    start = term(step(net)).item()
    for _ in range(50):
        optimizer.zero_grad()
        term(step(net)).backward()
        optimizer.step()
    assert term(step(net)).item() < start / 3


def test_what_does_not_fit_is_said(net):
    with pytest.raises(InputError, match="this target's have none"):
        loss().prepare(setting(net, names=()))
    with pytest.raises(InputError, match=r"no strategy.losses.semantic_alignment.form 'angle'"):
        loss(form="angle")
    with pytest.raises(InputError, match="margin=0"):
        loss(margin=0)
    with pytest.raises(RuntimeError, match="not prepared"):
        loss()(step(net))
    term = loss()
    term.prepare(setting(net))
    observed = replace(step(net).observed["target"], y=torch.rand(5))
    with pytest.raises(InputError, match="one class a sample"):
        term(Step(*net, TASK, {"target": observed}))
