import copy
from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferlab.backbones.small import convnet, mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Observation, Setting, Step
from transferlab.losses.features.crd import CRD, chance, crd
from transferlab.losses.features.exact import unit
from transferlab.losses.teacher import Teacher
from transferlab.tasks.classification import Classification
from transferlab.tasks.multilabel import MultiLabel

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")
MANY = MultiLabel(nn.Linear, "auroc", None)
SAMPLES = st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.floats(0.07, 2), st.integers(0, 99)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def units(rows, size, seed):
    return unit(drawn(rows, size, seed=seed))


def some(samples, others, seed):
    return torch.rand(samples, others, generator=torch.Generator().manual_seed(seed)) < 0.6


def dot(a, b):
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def critic(score, count, m):
    """Equation 18, with m for 1 / M."""
    return score / (score + count * m)


@settings(max_examples=25, deadline=None)
@given(*SAMPLES, st.floats(-6, 3))
def test_it_is_equation_10_written_out_both_ways(samples, others, size, temperature, seed, level):
    s, t, past_s, past_t = (units(rows, size, seed + n) for n, rows in enumerate((samples, samples, others, others)))
    used, expected = some(samples, others, seed), 0.0
    for i in range(samples):
        chosen = [j for j in range(others) if used[i, j]]
        if not chosen:
            continue  # the limit of N to 0
        drawn_to = log(critic(exp(dot(s[i], t[i]) / temperature), len(chosen), exp(level)))
        from_teacher = sum(
            log(1 - critic(exp(dot(s[i], past_t[j]) / temperature), len(chosen), exp(level))) for j in chosen
        )
        from_student = sum(
            log(1 - critic(exp(dot(t[i], past_s[j]) / temperature), len(chosen), exp(level))) for j in chosen
        )
        expected -= ((drawn_to + from_teacher) + (drawn_to + from_student)) / 2 / samples
    found = crd(s, t, past_s, past_t, used, temperature, torch.tensor(level, dtype=torch.float64))
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(*SAMPLES)
def test_the_level_is_the_mean_score_of_two_samples(samples, others, size, temperature, seed):
    s, past, used = units(samples, size, seed), units(others, size, seed + 1), some(samples, others, seed)
    scores = [exp(dot(s[i], past[j]) / temperature) for i in range(samples) for j in range(others) if bool(used[i, j])]
    expected = log(sum(scores) / len(scores)) if scores else -torch.inf
    assert chance(s, past, used, temperature).item() == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_its_gradient_is_right():
    past_s, past_t, used = units(5, 3, 2), units(5, 3, 3), some(4, 5, 0)
    level = torch.tensor(-1.0, dtype=torch.float64)
    used[0] = False
    assert torch.autograd.gradcheck(
        lambda s, t: crd(unit(s), unit(t), past_s, past_t, used, 0.3, level),
        (drawn(4, 3).requires_grad_(), drawn(4, 3, seed=1).requires_grad_()),
    )


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 6), st.integers(1, 3), st.integers(1, 4), st.floats(0.07, 2), st.floats(-6, 3), st.integers(0, 99)
)
def test_whatever_the_critic_it_bounds_the_mutual_information(kinds, repeats, size, temperature, level, seed):
    """One of `kinds` inputs, each as likely, that both nets tell apart: T and S have log(kinds) in common.

    Two samples drawn independently are any two inputs, each pair as likely, the same one among them; so the mean over
    all pairs is exact, and N is any multiple of their number.
    """
    s, t = units(kinds, size, seed), units(kinds, size, seed + 1)
    every = torch.ones(kinds, kinds * repeats, dtype=torch.bool)
    found = crd(s, t, s.repeat(repeats, 1), t.repeat(repeats, 1), every, temperature, torch.tensor(level))
    assert log(kinds * repeats) - found.item() <= log(kinds) + 1e-9


def test_the_bound_is_reached_by_a_critic_that_knows_the_densities():
    """h* = p(T, S) / (p(T, S) + N p(T) p(S)): of K inputs K / (K + N) for one, 0 for two; N large makes it tight."""
    kinds, repeats, temperature = 2, 5000, 0.02
    s = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    every = torch.ones(kinds, kinds * repeats, dtype=torch.bool)
    level = torch.tensor(1 / temperature - log(kinds), dtype=torch.float64)
    past = s.repeat(repeats, 1)
    found = log(kinds * repeats) - crd(s, s, past, past, every, temperature, level).item()
    assert found == pytest.approx(log(kinds) - 1, abs=1e-3)  # N E[log(1 - h*)], which the bound gives away, tends to 1


def test_without_negatives_it_is_0_and_pulls_nowhere():
    s, t = drawn(2, 3).requires_grad_(), units(2, 3, 1)
    none = torch.zeros(2, 4, dtype=torch.bool)
    loss = crd(unit(s), t, units(4, 3, 2), units(4, 3, 3), none, 0.1, torch.tensor(0.0))
    loss.backward()
    assert loss.item() == 0 and torch.equal(s.grad, torch.zeros(2, 3))


def test_it_is_finite_in_half_precision_at_a_low_temperature():
    s, past = (units(n, 8, n).bfloat16() for n in (3, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = crd(s, s, past, past, torch.ones(3, 5, dtype=torch.bool), 0.005, torch.tensor(0.0))
    assert found.isfinite() and found.dtype == torch.float32


@pytest.fixture
def net():
    torch.manual_seed(0)
    return convnet(ArrayInput.of(1, 8, 8), [3, 4]), nn.Linear(4, 2)


@pytest.fixture
def source(net):
    return Teacher(copy.deepcopy(net[0]), None, None, 1.0)


def loss_of(net, stages=None, teacher_stages=None, queue=6, negatives="all", task=TASK, **teachers):
    torch.manual_seed(3)
    loss = CRD(1.0, stages, teacher_stages, 5, 0.5, queue, negatives)
    loss.prepare(Setting(*net, task, {"target": 2}, torch.zeros(2, 1, 8, 8), True, teachers=teachers))
    return loss


def step(net, loss, seed=1, size=3, y=None, **teachers):
    x = torch.randn(size, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    y = torch.arange(size) % 2 if y is None else y
    features, kept = net[0].observe(x, loss.activations)
    taught = {name: one.observe(x, y, loss.taught[name]) for name, one in teachers.items()}
    weights = {name: one.weight for name, one in teachers.items()}
    return Step(*net, TASK, {"target": Observation(x, y, kept, features, None)}, taught, weights)


def embedded(loss, step, number=0):
    (contrast,) = loss.contrasts["source"]
    student = unit(contrast.own(step.observed["target"].features))
    return student, unit(contrast.theirs(step.taught["source"].features))


@pytest.mark.parametrize("negatives", ["all", "other_classes"])
def test_negatives_are_the_other_samples_of_this_batch_and_of_those_before(net, source, negatives):
    loss = loss_of(net, negatives=negatives, source=source)
    steps = [step(net, loss, seed, source=source) for seed in (1, 2, 3)]
    with torch.no_grad():
        s, t = (torch.cat(rows) for rows in zip(*(embedded(loss, one) for one in steps), strict=True))
        levels = []
        for number, one in enumerate(steps):
            y = torch.tensor([0, 1, 0])
            rows = range(3 * number, 3 * number + 3)
            past = list(range(max(0, 3 * number - 6), 3 * number))
            keys = [*rows, *past]
            used = torch.tensor(
                [[k != row and (negatives == "all" or y[k % 3] != y[row % 3]) for k in keys] for row in rows]
            )
            levels.append(chance(s[rows], t[keys], used, 0.5))
            expected = crd(s[rows], t[rows], s[keys], t[keys], used, 0.5, levels[0])
            torch.testing.assert_close(loss(one), expected)


def test_only_training_takes_in_batches_and_sets_the_level(net, source):
    loss = loss_of(net, source=source).eval()
    before = copy.deepcopy(loss.state_dict())
    assert loss(step(net, loss, source=source)).isfinite()
    assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())
    loss.train()(step(net, loss, source=source))
    (contrast,) = loss.contrasts["source"]
    assert int(contrast.queue.pushed) == 3 and bool(contrast.levelled)
    level = contrast.level.clone()
    loss(step(net, loss, seed=2, source=source))
    assert torch.equal(contrast.level, level)


def test_a_batch_of_one_sets_no_level_and_the_queue_mends_it(net, source):
    loss = loss_of(net, source=source)
    (contrast,) = loss.contrasts["source"]
    net[0].eval()
    assert loss(step(net, loss, size=1, source=source)).item() == 0 and not contrast.levelled
    assert loss(step(net, loss, seed=2, size=1, source=source)).item() > 0 and contrast.levelled
    assert all(value.isfinite().all() for value in loss.state_dict().values())


def test_net_and_embeddings_learn_and_the_teacher_does_not(net, source):
    loss = loss_of(net, source=source)
    for seed in (1, 2):
        value = loss(step(net, loss, seed, source=source))
    value.backward()
    assert len(list(loss.parameters())) == 4 and all(p.grad.abs().sum() > 0 for p in loss.parameters())
    assert net[0].net.block1[0].weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in source.parameters())


def test_a_reloaded_loss_goes_on_as_the_saved_one_would(net, source):
    loss = loss_of(net, source=source)
    for seed in (1, 2):
        loss(step(net, loss, seed, source=source))
    resumed = loss_of(net, source=source)
    resumed.load_state_dict(copy.deepcopy(loss.state_dict()))
    for seed in (3, 4, 5):
        one = step(net, loss, seed, source=source)
        assert torch.equal(loss(one), resumed(one))


def test_it_reads_maps_of_stages_of_a_teacher_of_another_kind(net):
    torch.manual_seed(4)
    other = Teacher(mlp(ArrayInput.of(1, 8, 8), [7, 6]), None, None, 1.0)
    loss = loss_of(net, ["block*"], ["layer*"], other=other)
    assert [(pair.own.in_features, pair.theirs.in_features) for pair in loss.contrasts["other"]] == [(3, 7), (4, 6)]
    one = step(net, loss, other=other)
    maps, theirs = one.observed["target"].activations, one.taught["other"].activations
    args = (torch.zeros(3, dtype=torch.long), False, 0.5)
    alone = [
        pair.eval()(maps[own].mean((2, 3)), theirs[its], *args)
        for pair, own, its in zip(loss.contrasts["other"], loss.activations, loss.taught["other"], strict=True)
    ]
    torch.testing.assert_close(loss.eval()(one), alone[0] + alone[1])
    features = loss_of(net, other=other)  # the features of both, whatever their stages are called
    assert features.taught == {"other": ("layer2",)} and features(step(net, features, other=other)) > 0


def test_it_learns_which_sample_is_which():
    torch.manual_seed(0)
    net = mlp(ArrayInput.of(1, 8, 8), [16]), nn.Linear(16, 2)
    torch.manual_seed(1)
    source = Teacher(mlp(ArrayInput.of(1, 8, 8), [16]), None, None, 1.0)
    loss = loss_of(net, queue=8, source=source).eval()  # the same negatives each time
    one = step(net, loss, size=6, source=source)
    before = loss(one).item()
    optimizer = torch.optim.Adam(loss.parameters(), 0.05)
    for _ in range(20):
        optimizer.zero_grad()
        loss(one).backward(retain_graph=True)
        optimizer.step()
    assert loss(one) < 0.6 * before
    student, teacher = embedded(loss, one)
    assert (student @ teacher.T).argmax(1).tolist() == list(range(6))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda net, source: loss_of(net), "this run starts from none"),
        (lambda net, source: loss_of(net, ["nowhere"], source=source), "nowhere"),
        (lambda net, source: loss_of(net, ["block1"], ["block*"], source=source), "names 2 stages"),
        (lambda net, source: CRD(1.0, None, None, 5, 0.0, 6, "all"), "temperature=0.0: a number above 0"),
        (lambda net, source: CRD(1.0, None, None, 0, 0.1, 6, "all"), "dimension=0: at least 1"),
        (lambda net, source: CRD(1.0, None, None, 5, 0.1, 0, "all"), "queue=0: at least 1"),
        (lambda net, source: CRD(1.0, None, None, 5, 0.1, 6, "some"), "other_classes"),
        (
            lambda net, source: loss_of(net, negatives="other_classes", task=MANY, source=source),
            "negatives=other_classes takes one class a sample: choose all or auto",
        ),
    ],
)
def test_what_does_not_fit_is_said(make, said, net, source):
    with pytest.raises(InputError, match=said):
        make(net, source)


@pytest.mark.parametrize(
    ("task", "y", "classes"),
    [
        (TASK, torch.tensor([1, 0, 1]), [1, 0, 1]),
        (TASK, torch.tensor([[0.4, 0.6], [1.0, 0.0], [0.2, 0.8]]), [1, 0, 1]),  # mixed images
        (MANY, torch.tensor([[1, 0], [0, 0], [1, 1]]), [0, 0, 0]),
    ],
)
def test_by_itself_it_takes_negatives_of_other_classes_where_the_task_has_them(task, y, classes, net, source):
    loss = loss_of(net, negatives="auto", task=task, source=source)
    assert loss(step(net, loss, y=y, source=source)) > 0
    (contrast,) = loss.contrasts["source"]
    assert contrast.queue.labels[:3].tolist() == classes
