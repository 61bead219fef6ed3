import pytest
import torch
from feature_nets import (
    SERIES,
    drawn,
    images,
    of_ids,
    of_images,
    of_series,
    of_vectors,
    series,
    setting,
    step,
    teacher,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.features.fitnets import FitNets, hint


def real(samples, places, seed):
    """Which positions are real; each sample has one at least."""
    mask = drawn(samples, places, seed=seed) > 0
    mask[:, 0] = True
    return mask


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_it_is_the_mean_squared_distance_written_out(samples, places, features, seed):
    guess, wanted = drawn(samples, places, features, seed=seed), drawn(samples, places, features, seed=seed + 1)
    mask = real(samples, places, seed)
    expected = 0.0
    for a, b, kept in zip(guess.tolist(), wanted.tolist(), mask.tolist(), strict=True):
        for place in range(places):
            for feature in range(features):
                if kept[place]:
                    expected += (a[place][feature] - b[place][feature]) ** 2 / features / sum(kept) / samples
    assert hint(guess, wanted, mask).item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_its_gradient_is_right():
    wanted, mask = drawn(3, 4, 2, seed=1), real(3, 4, 0)
    assert torch.autograd.gradcheck(lambda guess: hint(guess, wanted, mask), drawn(3, 4, 2).requires_grad_())


def test_a_student_that_foretells_its_teacher_has_nothing_to_learn():
    guess = drawn(3, 4, 2)
    assert hint(guess, guess, real(3, 4, 0)).item() == 0


def test_the_regressor_is_a_1x1_convolution_of_the_middle_stage():
    net, other = of_images(widths=(3, 4, 5)), teacher(of_images(1, widths=(6, 7, 8)))
    loss = FitNets(1.0, None, None)
    loss.prepare(setting(net, first=other))
    assert loss.activations == ("block2",)
    x = images(5)
    (regressor,) = loss.regressors["first"]
    maps = net[0].observe(x, ["block2"])[1]["block2"]
    guess = F.conv2d(maps, regressor.weight[:, :, None, None], regressor.bias)
    wanted = other.backbone.observe(x, ["block2"])[1]["block2"]
    torch.testing.assert_close(loss(step(net, loss, x, first=other)), F.mse_loss(guess, wanted))


@pytest.mark.parametrize(("mine", "its"), [(0, 1), (1, 0)])
def test_the_larger_of_two_maps_is_averaged_over_the_smaller_grid(mine, its):
    net, other = of_images(), teacher(of_images(1))
    loss = FitNets(1.0, [mine], [its])
    loss.prepare(setting(net, first=other))
    x = images(3)
    (regressor,) = loss.regressors["first"]
    maps = [one.observe(x, one.stages)[1][f"block{n + 1}"] for one, n in ((net[0], mine), (other.backbone, its))]
    own, wanted = (value if value.shape[-1] == 2 else F.avg_pool2d(value, 2) for value in maps)
    guess = F.conv2d(own, regressor.weight[:, :, None, None], regressor.bias)
    torch.testing.assert_close(loss(step(net, loss, x, first=other)), F.mse_loss(guess, wanted))


def test_of_sequences_padding_does_not_count():
    net, other = of_series(), teacher(of_series(1))
    loss = FitNets(1.0, ["block1"], None)
    loss.prepare(setting(net, SERIES, first=other))
    seen = step(net, loss, series(3), first=other)
    before = loss(seen)
    for observed in (seen.observed["target"], seen.taught["first"]):
        padded = observed.activations["block1"]
        padded.h.data[~padded.mask] = 1e6
    torch.testing.assert_close(loss(seen), before)


def test_stages_add_up_and_each_teacher_has_regressors_of_its_own():
    net, first, second = of_images(), teacher(of_images(1), 3.0), teacher(of_images(2, widths=(5, 6)), 1.0)
    loss = FitNets(1.0, [0, 1], None)
    loss.prepare(setting(net, first=first, second=second))
    assert {name: tuple(p.shape) for name, p in loss.named_parameters() if name.endswith("weight")} == {
        "regressors.first.0.weight": (3, 3),
        "regressors.first.1.weight": (4, 4),
        "regressors.second.0.weight": (5, 3),
        "regressors.second.1.weight": (6, 4),
    }
    x = images(4)
    one, other = (loss(step(net, loss, x, **{name: who})) for name, who in (("first", first), ("second", second)))
    whole = loss(step(net, loss, x, first=first, second=second))
    torch.testing.assert_close(whole, 0.75 * one + 0.25 * other)
    whole.backward()
    assert all(p.grad is not None for p in (*loss.parameters(), *net[0].parameters()))
    assert all(p.grad is None for p in first.parameters())


def test_twenty_steps_lower_it():
    net, other = of_images(), teacher(of_images(1))
    loss = FitNets(1.0, None, None)
    loss.prepare(setting(net, first=other))
    optimizer = torch.optim.SGD([*net[0].parameters(), *loss.parameters()], lr=0.05)
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        value = loss(step(net, loss, images(8), first=other))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0]


def test_what_does_not_fit_is_said():
    net, other = of_images(), teacher(of_images(1))
    with pytest.raises(InputError, match="this run starts from none"):
        FitNets(1.0, None, None).prepare(setting(net))
    with pytest.raises(InputError, match="teacher_stages names 2 stages"):
        FitNets(1.0, [0], [0, 1]).prepare(setting(net, first=other))
    with pytest.raises(InputError, match="a sample has 4 positions in a stage of this net and 1 in the teacher's"):
        FitNets(1.0, [1], [0]).prepare(setting(net, first=teacher(of_vectors())))
    with pytest.raises(InputError, match=r"fitnets\.stages: stage 'users' of backbone 'embeddings'.*: items"):
        FitNets(1.0, ["users"], None).prepare(setting(of_ids(), torch.zeros(2, 2, dtype=torch.long)))
