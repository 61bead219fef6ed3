import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferlab import cli
from transferlab.backbones.small import convnet, mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Setting, Step, Study
from transferlab.losses.teacher import Teacher
from transferlab.losses.weights.ewc import EWC, empirical_fisher, ewc
from transferlab.tasks.classification import Classification

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=4), st.floats(0.01, 1e3), st.integers(0, 99)
)
def test_it_is_the_papers_sum_over_every_weight(shapes, strength, seed):
    weights, start, fisher = ([drawn(*shape, seed=seed + n) for shape in shapes] for n in (0, 1, 2))
    fisher = [f.square() for f in fisher]
    expected = 0.0
    for w, w0, f in zip(weights, start, fisher, strict=True):
        for one, one0, scale in zip(*(tensor.flatten().tolist() for tensor in (w, w0, f)), strict=True):
            expected += strength / 2 * scale * (one - one0) ** 2
    assert ewc(weights, start, fisher, strength).item() == pytest.approx(expected, rel=1e-5)


def test_its_gradient_is_right():
    start, fisher = drawn(3, 2, seed=1), drawn(3, 2, seed=2).square()
    assert torch.autograd.gradcheck(lambda w: ewc([w], [start], [fisher], 5.0), drawn(3, 2).requires_grad_())


def test_it_is_0_at_the_start_and_free_where_the_source_does_not_care():
    start = drawn(3, 2)
    assert ewc([start], [start], [torch.ones(3, 2)], 5.0).item() == 0
    assert ewc([start + 1], [start], [torch.zeros(3, 2)], 5.0).item() == 0


def test_another_number_of_weights_raises():
    with pytest.raises(ValueError):
        ewc([drawn(2)], [drawn(2)], [], 5.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(2, 4), st.integers(0, 99))
def test_of_a_softmax_regression_the_fisher_information_is_known(samples, features, classes, seed):
    """The gradient of -log p_y is (p_c - [c = y]) x_f."""
    x, weights = drawn(samples, features, seed=seed), drawn(classes, features, seed=seed + 1).requires_grad_()
    y = torch.randint(classes, (samples,), generator=torch.Generator().manual_seed(seed))
    losses = (nn.functional.cross_entropy(one[None] @ weights.T, label[None]) for one, label in zip(x, y, strict=True))
    (found,) = empirical_fisher(losses, [weights])
    p = (x @ weights.detach().T).softmax(1)
    for c in range(classes):
        for f in range(features):
            squares = [((p[n, c] - (y[n] == c).double()) * x[n, f]).item() ** 2 for n in range(samples)]
            assert found[c, f].item() == pytest.approx(sum(squares) / samples, rel=1e-5, abs=1e-12)


def test_a_weight_that_the_loss_does_not_reach_counts_as_0():
    used, unused = drawn(2).requires_grad_(), drawn(3).requires_grad_()
    assert torch.equal(empirical_fisher([used.square().sum()], [used, unused])[1], torch.zeros(3))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return convnet(ArrayInput.of(1, 8, 8), [3, 4]), nn.Linear(4, 2)


@pytest.fixture
def source(net):
    torch.manual_seed(1)
    return Teacher(copy.deepcopy(net[0]), nn.Linear(4, 3), TASK, 1.0)


SAMPLES = 9
X = torch.randn(SAMPLES, 1, 8, 8, generator=torch.Generator().manual_seed(2))
Y = torch.arange(SAMPLES) // 3  # sorted by class


def setting(net, from_source=True, classes=None, head_from_source=False, **teachers):
    classes = {"target": 2, "source": 3} if classes is None else classes
    shown = torch.zeros(2, 1, 8, 8)
    return Setting(*net, TASK, classes, shown, from_source, head_from_source=head_from_source, teachers=teachers)


def study(net, y=Y, **teachers):
    def batches(domain, size):
        assert domain == "source"
        return zip(X.split(min(size, 4)), y.split(min(size, 4)), strict=True)

    return Study(*net, TASK, teachers, batches)


def studied(net, source, samples=None, strength=2.0, beta=0.0):
    loss = EWC(1.0, strength, beta, samples)
    loss.prepare(setting(net, source=source))
    loss.study(study(net, source=source))
    return loss


def naive_fisher(teacher, chosen):
    net = copy.deepcopy(nn.Sequential(teacher.backbone, teacher.head)).eval().requires_grad_()
    sums = [torch.zeros_like(p) for p in net[0].parameters()]
    for n in chosen:
        net.zero_grad()
        nn.functional.cross_entropy(net(X[n : n + 1]), Y[n : n + 1]).backward()
        sums = [total + p.grad**2 for total, p in zip(sums, net[0].parameters(), strict=True)]
    return [total / len(chosen) for total in sums]


def step(net):
    return Step(*net, TASK, {})


@pytest.mark.parametrize(("samples", "chosen"), [(None, range(9)), (100, range(9)), (3, [0, 4, 8])])
def test_the_penalty_weighs_each_weight_by_the_sources_own_loss_on_samples_of_all_classes(net, source, samples, chosen):
    loss, start = studied(net, source, samples, beta=0.1), [p.detach().clone() for p in net[0].parameters()]
    assert loss(step(net)).item() == pytest.approx(0.05 * sum(p.square().sum().item() for p in net[1].parameters()))
    with torch.no_grad():
        for p in net[0].parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    expected = 0.05 * sum(p.square().sum() for p in net[1].parameters())
    for p, p0, f in zip(net[0].parameters(), start, naive_fisher(source, list(chosen)), strict=True):
        expected = expected + (f * (p - p0) ** 2).sum()
    torch.testing.assert_close(loss(step(net)), expected, rtol=1e-5, atol=1e-7)


def test_a_carried_head_is_held_too(net):
    teacher = Teacher(copy.deepcopy(net[0]), copy.deepcopy(net[1]), TASK, 1.0)
    loss = EWC(1.0, 2.0, 0.1, None)
    loss.prepare(setting(net, {"target": 2, "source": 2}, head_from_source=True, source=teacher))
    loss.study(study(net, (Y > 1).long(), source=teacher))
    assert loss(step(net)).item() == 0
    with torch.no_grad():
        net[1].weight.add_(1)
    assert loss(step(net)).item() > 0


def test_studying_leaves_the_teacher_without_gradients(net, source):
    studied(net, source)
    assert all(p.grad is None and not p.requires_grad for p in source.parameters())


def test_before_the_study_nothing_is_pulled(net, source):
    loss = EWC(1.0, 2.0, 0.0, None)
    loss.prepare(setting(net, source=source))
    assert loss(step(net)).item() == 0


def test_anchors_and_fisher_information_survive_a_reload(net, source):
    loss = studied(net, source)
    saved = {key: value.clone() for key, value in loss.state_dict().items()}
    resumed = EWC(1.0, 2.0, 0.0, None)
    with torch.no_grad():
        net[0].net.block1[0].weight.add_(1)
    resumed.prepare(setting((copy.deepcopy(source.backbone), net[1]), source=source))
    resumed.load_state_dict(saved)
    assert torch.equal(resumed(step(net)), loss(step(net))) and loss(step(net)) > 0
    assert not list(loss.parameters())


def test_it_is_the_source_among_several_teachers(net, source):
    torch.manual_seed(5)
    other = Teacher(mlp(ArrayInput.of(1, 8, 8), [4]), nn.Linear(4, 2), TASK, 1.0)
    loss = EWC(1.0, 2.0, 0.0, None)
    loss.prepare(setting(net, other=other, source=source))
    loss.study(study(net, other=other, source=source))
    kept = [value for key, value in loss.state_dict().items() if key.startswith("fisher_")]
    for found, expected in zip(kept, naive_fisher(source, range(SAMPLES)), strict=True):
        torch.testing.assert_close(found, expected)


def lacking(net, source, what):
    if what == "source":
        return setting(net, from_source=False)
    if what == "data":
        return setting(net, classes={"target": 2}, source=source)
    if what == "teacher":
        return setting(net)
    if what == "head":
        return setting(net, source=Teacher(copy.deepcopy(net[0]), None, None, 1.0))
    if what == "shape":
        return setting(net, head_from_source=True, source=source)
    return setting(net, other=Teacher(mlp(ArrayInput.of(1, 8, 8), [4]), nn.Linear(4, 2), TASK, 1.0))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("source", "this run starts from none: set source"),
        ("data", "this source has none"),
        ("teacher", "this run starts from none"),
        ("head", "came without its classifier"),
        ("shape", "set strategy.head=new"),
        ("other net", r"\+strategy/teacher@strategy.teachers.source=source"),
    ],
)
def test_what_it_lacks_is_said(net, source, what, said):
    with pytest.raises(InputError, match=said):
        EWC(1.0, 2.0, 0.0, None).prepare(lacking(net, source, what))


def test_a_source_that_learns_nothing_from_its_samples_is_said(net, source):
    with torch.no_grad():
        source.head.weight.zero_()
        source.head.bias.zero_()
        source.backbone.net.block2[1].weight.zero_()
        source.backbone.net.block2[1].bias.fill_(-1)  # no feature is above 0
    loss = EWC(1.0, 2.0, 0.0, None)
    loss.prepare(setting((copy.deepcopy(source.backbone), net[1]), source=source))
    with pytest.raises(InputError, match="Fisher information is 0"):
        loss.study(study(net, source=source))


def test_no_samples_are_refused():
    with pytest.raises(InputError, match="samples=0: at least 1"):
        EWC(1.0, 2.0, 0.0, 0)


def test_it_takes_the_place_of_weight_decay_and_reads_the_source_once():
    assert EWC.replaces_weight_decay and EWC.studies == {"source"} and EWC.reads == {"target"}


def test_a_real_run_studies_the_source_as_its_net_was_trained(tmp_path, monkeypatch):
    seen, study = [], EWC.study

    def watched(loss, given):
        seen.extend(x for x, _ in given.batches("source", 100))
        study(loss, given)
        assert any(f.any() for f in loss._fisher)

    monkeypatch.setattr(EWC, "study", watched)
    words = ["source=digits", "target=digits", "target.labels=6", "backbone=mlp", "backbone.widths=[4]"]
    words += ["backbone.input.shape=[1,8,8]", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=6"]
    words += ["strategy.losses.ewc.samples=20", "trainer.max_epochs=1", "tracker=none", "diagnostics=none"]
    assert cli.main(["train", "strategy=ewc", *words, f"paths.runs={tmp_path}"]) == 0
    x = torch.cat(seen)
    assert len(x) > 1000 and x.min() == -1 and x.max() == 1  # pixels from 0 to 1, mean and deviation 0.5
