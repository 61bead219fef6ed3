from dataclasses import replace
from math import exp, log

import pytest
import torch
from adversarial_nets import TASK, close, drawn, features, gradients, net, prepared, step
from both_sides import MANY
from torch import nn

from transferlab.errors import InputError
from transferlab.losses.base import Step
from transferlab.losses.domains.entropy import entropy
from transferlab.losses.domains.mme import MME
from transferlab.losses.weight import ramp


@pytest.mark.parametrize(("n", "m"), [(4, 3), (1, 5), (3, 1)])
def test_the_head_climbs_the_entropy_that_the_features_descend(n, m):
    parts = net()
    loss, present = prepared(MME(0.1, 0.7), parts), step(parts, n, m)
    source, target = features(present)
    plain, value = entropy(parts[1](target)), loss(present)
    torch.testing.assert_close(value, -plain)
    own = list(parts[1].parameters())
    close(gradients(value, own), gradients(plain, own), factor=-1)
    close(gradients(value, [target]), gradients(plain, [target]), factor=0.7)
    assert not gradients(value, [source])[0].any()
    assert gradients(plain, [target])[0].abs().sum() > 0


def test_it_is_the_papers_entropy_written_out():
    parts = net()
    present = step(parts, 4, 3)
    total = 0.0
    for row in present.observed["unlabeled"].outputs.double().tolist():
        powers = [exp(value) for value in row]
        total += sum(power / sum(powers) * log(power / sum(powers)) for power in powers)
    assert prepared(MME(0.1, 0.7), parts)(present).item() == pytest.approx(total / 3, rel=1e-5)


def test_its_gradient_is_that_of_differences_for_the_head_and_reversed_for_the_features():
    """The reversal scales by minus its factor: by a factor of -1 it lets the true gradient through."""
    parts = net()
    parts[1].double()
    observed = step(net(), 4, 3).observed["unlabeled"]

    def value(factor):
        loss = MME(0.1, factor)

        def of(weight, features):
            def head(x):
                return nn.functional.linear(x, weight)

            domains = {"unlabeled": replace(observed, features=features, outputs=head(features))}
            return loss(Step(parts[0], head, TASK, domains))

        return of

    weight, features = drawn(3, 5, seed=4).requires_grad_(), drawn(3, 5, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: value(1.0)(w, features.detach()), weight)
    assert torch.autograd.gradcheck(value(-1.0), (weight, features))
    assert not torch.autograd.gradcheck(value(1.0), (weight, features), raise_exception=False)


def test_a_step_of_the_head_makes_the_target_less_sure_and_one_of_the_backbone_more():
    parts = net()
    loss = prepared(MME(0.1, 1.0), parts)

    def after(part):
        present = step(parts, 8, 8)
        own = list(part.parameters())
        kept = [p.detach().clone() for p in own]
        for p, gradient in zip(own, gradients(loss(present), own), strict=True):
            p.data -= 1e-2 * gradient
        found = entropy(step(parts, 8, 8).observed["unlabeled"].outputs).item()
        for p, value in zip(own, kept, strict=True):
            p.data = value
        return found

    before = entropy(step(parts, 8, 8).observed["unlabeled"].outputs).item()
    assert after(parts[0]) < before < after(parts[1])


def test_the_backbones_share_follows_training():
    parts = net()
    loss = prepared(MME(0.1, lambda progress: ramp(progress, high=1.0, gamma=10.0)), parts)
    pulls = []
    for progress in (0.0, 0.5):
        present = step(parts, progress=progress)
        pulls.append(gradients(loss(present), features(present)[1:])[0])
    assert not pulls[0].any()
    torch.testing.assert_close(
        pulls[1],
        gradients(entropy(present.observed["unlabeled"].outputs), features(present)[1:])[0]
        * ramp(0.5, high=1.0, gamma=10.0),
    )


def test_it_reads_no_source_and_takes_classes():
    assert MME.reads == {"unlabeled"}
    with pytest.raises(InputError, match=r"'mme' .*task=classification"):
        prepared(MME(0.1, 1.0), net(), MANY)
