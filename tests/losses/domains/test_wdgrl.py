import copy

import pytest
import torch
from adversarial_nets import close, drawn, features, gradients, net, prepared, step
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.losses.domains.critic import Critic
from transferlab.losses.domains.discriminator import Discriminator
from transferlab.losses.domains.wdgrl import WDGRL, between, critic_loss, gradient_penalty, wasserstein


def built(parts, hidden=(4,), lr=0.01, steps=5, penalty=10.0, **more):
    return prepared(WDGRL(1.0, list(hidden), lr, steps, penalty), parts, **more)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99), st.floats(0.1, 20))
def test_the_critics_loss_is_the_papers(n, m, size, seed, penalty):
    """Of a critic f(h) = a . h^2, whose slope at h is 2 a h."""
    source, target, a = drawn(n, size, seed=seed), drawn(m, size, seed=seed + 1), drawn(size, seed=seed + 2)
    share = drawn(max(n, m), seed=seed + 3).sigmoid()
    points = [*source.tolist(), *target.tolist()]
    for i, e in enumerate(share.tolist()):
        s, t = source[i % n].tolist(), target[i % m].tolist()
        points.append([e * x + (1 - e) * y for x, y in zip(s, t, strict=True)])
    slopes = [sum((2 * w * x) ** 2 for w, x in zip(a.tolist(), point, strict=True)) ** 0.5 for point in points]
    held = sum((slope - 1) ** 2 for slope in slopes) / len(slopes)

    def score(point):
        return sum(w * x * x for w, x in zip(a.tolist(), point, strict=True))

    distance = sum(map(score, source.tolist())) / n - sum(map(score, target.tolist())) / m
    found = critic_loss(source, target, share, lambda h: h.square() @ a, penalty)
    assert found.item() == pytest.approx(penalty * held - distance, rel=1e-8, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_the_penalty_of_a_linear_critic_is_what_its_length_lacks_to_1(count, size, seed):
    w = drawn(size, seed=seed)
    points = drawn(count, size, seed=seed + 1)
    expected = (w.square().sum().sqrt().item() - 1) ** 2
    assert gradient_penalty(lambda h: h @ w + 3, points).item() == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_the_penalty_has_the_right_gradient_for_the_critic_and_none_for_the_points():
    points = drawn(3, 4).requires_grad_()
    weights = drawn(4, 5, seed=1).requires_grad_(), drawn(5, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: gradient_penalty(lambda h: (h @ a).tanh() @ b, points), weights, atol=1e-6
    )
    gradient_penalty(lambda h: (h @ weights[0]).tanh() @ weights[1], points).backward()
    assert points.grad is None


def test_points_between_lie_on_lines_and_the_smaller_batch_begins_anew():
    source, target = torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.tensor([[0.0, 8.0], [4.0, 8.0], [8.0, 8.0]])
    share = torch.tensor([1.0, 0.0, 0.25])
    assert between(source, target, share).tolist() == [[0.0, 0.0], [4.0, 8.0], [6.0, 6.0]]


def test_the_distance_is_between_means_of_scores_and_its_gradient_is_right():
    s, t = drawn(4).requires_grad_(), drawn(3, seed=1).requires_grad_()
    assert wasserstein(s, t).item() == pytest.approx(sum(s.tolist()) / 4 - sum(t.tolist()) / 3)
    assert torch.autograd.gradcheck(wasserstein, (s, t))


def test_a_critic_steps_as_torchs_adam_does():
    torch.manual_seed(0)
    critic = Critic(3, [5, 4])
    twin = Discriminator(3, [5, 4], 0.0)
    twin.load_state_dict(critic.net.state_dict())
    adam = torch.optim.Adam(twin.parameters(), 0.01)
    for seed in range(6):
        h = drawn(8, 3, seed=seed).float()
        critic.descend(lambda scores, h=h: scores(h).square().mean() - scores(h + 1).mean(), 0.01)
        adam.zero_grad()
        (twin(h).square().mean() - twin(h + 1).mean()).backward()
        adam.step()
        for name, weight in critic.net.state_dict().items():
            torch.testing.assert_close(weight, twin.state_dict()[name], atol=1e-7, rtol=1e-5)
    assert int(critic.taken) == 6


def test_a_linear_critic_finds_the_distance_of_two_points():
    """The best w of w . d - gamma (|w| - 1)^2 has the direction of d and the length 1 + |d| / (2 gamma)."""
    torch.manual_seed(0)
    critic, source, target = Critic(2, []), torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0]])
    for _ in range(300):
        critic.descend(lambda scores: critic_loss(source, target, torch.rand(1), scores, 10.0), 0.02)
    assert wasserstein(critic(source), critic(target)).item() == pytest.approx(5 * (1 + 5 / 20), abs=1e-3)


@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 2), (1, 3)])
def test_the_net_descends_on_the_distance_by_a_critic_that_the_runs_optimizer_cannot_move(n, m):
    parts = net()
    loss, present = built(parts), step(parts, n, m)
    assert not list(loss.parameters())
    value = loss(present)
    net_ = copy.deepcopy(loss.critic.net)
    straight = net_(features(present)[0]).mean() - net_(features(present)[1]).mean()
    torch.testing.assert_close(value, straight)
    close(gradients(value, features(present)), gradients(straight, features(present)))
    assert not any(tensor.requires_grad for tensor in loss.state_dict(keep_vars=True).values())
    before = copy.deepcopy(loss.state_dict())
    optimizer = torch.optim.SGD([*parts[0].parameters(), *loss.parameters()], 0.1, weight_decay=0.1)
    value.backward()
    optimizer.step()
    assert all(torch.equal(tensor, before[key]) for key, tensor in loss.state_dict().items())


def test_the_critic_learns_before_each_training_step_and_never_else():
    parts = net()
    loss = built(parts, steps=3)
    before = copy.deepcopy(loss.state_dict())
    loss.eval()(step(parts))
    assert all(torch.equal(tensor, before[key]) for key, tensor in loss.state_dict().items())
    loss.train()(step(parts))
    assert int(loss.critic.taken) == 3
    assert all(not torch.equal(loss.state_dict()[key], before[key]) for key in before if key.endswith("0.weight"))
    with torch.no_grad():
        assert not loss(step_without_graph(parts)).requires_grad and int(loss.critic.taken) == 6


def step_without_graph(parts):
    with torch.enable_grad():
        return step(parts)


def test_more_steps_bring_the_critic_nearer_to_the_distance():
    parts = net()
    few, many = (built(parts, steps=steps)(step(parts, 16, 16)).item() for steps in (1, 60))
    assert many > few


def run(loss, parts, seeds):
    optimizer = torch.optim.SGD(parts[0].parameters(), 0.05)
    values = []
    for seed in seeds:
        optimizer.zero_grad()
        value = loss(step(parts, 5, 3, seed=seed))
        value.backward()
        optimizer.step()
        values.append(value.item())
    return values


def test_a_run_that_is_resumed_in_the_middle_goes_on_bit_for_bit():
    parts = net()
    loss = built(parts)
    run(loss, parts, range(3))
    saved = copy.deepcopy((loss.state_dict(), [part.state_dict() for part in parts], torch.get_rng_state()))
    whole = run(loss, parts, range(3, 7))

    others = net(seed=9)
    resumed = built(others, seed=8)
    resumed.load_state_dict(saved[0])
    for part, state in zip(others, saved[1], strict=True):
        part.load_state_dict(state)
    torch.set_rng_state(saved[2])
    assert run(resumed, others, range(3, 7)) == whole
    for key, tensor in loss.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key


def test_what_it_draws_comes_from_torchs_global_generator():
    parts = net()
    found = []
    for seed in (0, 0, 1):
        loss = built(parts)
        torch.manual_seed(seed)
        loss(step(parts))
        found.append(loss.critic.net.state_dict()["net.0.weight"])
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_critic_and_moments_are_in_the_state_dict():
    keys = built(net()).state_dict().keys()
    assert {"critic.net.net.0.weight", "critic.first", "critic.second", "critic.taken"} <= keys


def test_half_precision_around_it_leaves_the_critic_learning_in_full():
    parts = net()
    loss = built(parts)
    present = step(parts)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(present)
    assert value.isfinite() and loss.critic.first.dtype == torch.float32 and int(loss.critic.taken) == 5


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: WDGRL(1.0, [0], 0.1, 5, 10.0), "strategy.losses.wdgrl.hidden"),
        (lambda: WDGRL(1.0, [4], 0.0, 5, 10.0), "critic_lr=0.0: a number above 0"),
        (lambda: WDGRL(1.0, [4], 0.1, 0, 10.0), "critic_steps=0: at least 1"),
        (lambda: WDGRL(1.0, [4], 0.1, 5, 0.0), "penalty=0.0: a number above 0"),
        (lambda: built(net(), target=3), "loss 'wdgrl' reads source data"),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(InputError, match=said):
        make()
