from functools import partial
from itertools import pairwise
from math import cos, floor, pi

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from transferlab.backbones.small import convnet, mlp
from transferlab.backbones.torchvision import resnet
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.optim import (
    Schedule,
    constant,
    cosine,
    learning_rate,
    linear,
    parameter_groups,
    slanted_triangular,
)


def small():
    return convnet(ArrayInput.of(1, 16, 16), [3, 4, 5])


@pytest.mark.parametrize(
    "build",
    [small, lambda: mlp(ArrayInput.of(6), [5, 4]), lambda: resnet(ArrayInput.of(3, 32, 32), "resnet18")],
    ids=["convnet", "mlp", "resnet18"],
)
@pytest.mark.parametrize("trains", ["all", "none", "last"])
@pytest.mark.parametrize("live_batchnorm", [False, True])
def test_every_parameter_is_in_exactly_one_named_group_even_if_frozen(build, trains, live_batchnorm):
    backbone, head = build(), nn.Linear(4, 2)
    losses = {"domain": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1)), "other": nn.Linear(2, 2)}
    parametric = backbone.parametric
    backbone.set_trainable({"all": parametric, "none": (), "last": parametric[-1:]}[trains])
    groups = parameter_groups(backbone, head, losses, 0.1, 0.5, live_batchnorm)
    grouped = [id(p) for group in groups for p in group["params"]]
    whole = nn.ModuleList([backbone, head, *losses.values()])
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in whole.parameters()}
    names = [group["name"] for group in groups]
    assert len(names) == len(set(names))
    assert [name for name in names if not name.startswith("batchnorm/")] == [
        *(f"backbone/{stage}" for stage in parametric),
        "head",
        "loss/domain",
        "loss/other",
    ]


def test_a_group_holds_the_parameters_of_its_name():
    backbone, head, loss = small(), nn.Linear(5, 2), nn.Linear(5, 1)
    groups = {g["name"]: g["params"] for g in parameter_groups(backbone, head, {"domain": loss}, 0.1, 1.0)}
    expected = {f"backbone/{stage}": getattr(backbone.net, stage) for stage in backbone.parametric}
    expected |= {"head": head, "loss/domain": loss}
    for name, module in expected.items():
        assert [id(p) for p in groups[name]] == [id(p) for p in module.parameters()], name


def test_batchnorm_that_trains_in_frozen_stages_has_groups_of_its_own_at_its_stages_rate():
    backbone = resnet(ArrayInput.of(3, 32, 32), "resnet18")
    groups = {g["name"]: g for g in parameter_groups(backbone, nn.Linear(512, 2), {}, 0.1, 0.5, True)}
    layers = {
        "stem": [backbone.net.bn1],
        **{
            stage: [m for m in getattr(backbone.net, stage).modules() if isinstance(m, nn.BatchNorm2d)]
            for stage in ("layer1", "layer2", "layer3", "layer4")
        },
    }
    for stage, modules in layers.items():
        expected = {id(p) for module in modules for p in module.parameters()}
        assert {id(p) for p in groups[f"batchnorm/{stage}"]["params"]} == expected
        assert groups[f"batchnorm/{stage}"]["lr"] == groups[f"backbone/{stage}"]["lr"]


def test_a_loss_without_parameters_has_no_group():
    groups = parameter_groups(small(), nn.Linear(5, 2), {"plain": nn.Identity()}, 0.1, 1.0)
    assert "loss/plain" not in [group["name"] for group in groups]


@pytest.mark.parametrize("decay", [1.0, 0.5, 1 / 2.6])
def test_each_stage_has_lr_decay_times_the_rate_of_the_stage_above(decay):
    groups = parameter_groups(small(), nn.Linear(5, 2), {"domain": nn.Linear(5, 1)}, 0.1, decay)
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates["head"] == rates["loss/domain"] == 0.1
    chain = ["head", "backbone/block3", "backbone/block2", "backbone/block1"]
    for above, below in pairwise(chain):
        assert rates[below] == pytest.approx(decay * rates[above], rel=1e-12)


@pytest.mark.parametrize("decay", [0, -0.5])
def test_a_decay_that_is_not_positive_raises(decay):
    with pytest.raises(InputError, match=r"strategy\.lr_decay"):
        parameter_groups(small(), nn.Linear(5, 2), {}, 0.1, decay)


def torchs_factors(build, steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_is_torchs_cosine_annealing():
    schedule = Schedule(cosine, 0.0, "global")
    expected = torchs_factors(lambda optimizer: CosineAnnealingLR(optimizer, T_max=20), 20)
    assert [schedule.factor(0, 20, step) for step in range(20)] == pytest.approx(expected, abs=1e-9)


def test_linear_is_torchs_linear_decay_to_zero():
    schedule = Schedule(linear, 0.0, "global")
    expected = torchs_factors(lambda optimizer: LinearLR(optimizer, 1.0, 0.0, total_iters=20), 20)
    assert [schedule.factor(0, 20, step) for step in range(20)] == pytest.approx(expected, abs=1e-9)


def test_constant_is_1_throughout():
    schedule = Schedule(constant, 0.0, "per_stage")
    assert [schedule.factor(0, 20, step) for step in range(20)] == [1.0] * 20


@pytest.mark.parametrize(
    ("shape", "closed_form"),
    [(cosine, lambda t: 0.5 * (1 + cos(pi * t))), (linear, lambda t: 1 - t), (constant, lambda t: 1.0)],
)
@pytest.mark.parametrize("start", [0, 4, 9])
def test_the_clock_of_a_stage_runs_from_its_first_step_to_the_end(shape, closed_form, start):
    schedule, steps = Schedule(shape, 0.0, "per_stage"), 12
    for step in range(start, steps):
        expected = closed_form((step - start) / (steps - start))
        assert schedule.factor(start, steps, step) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [cosine, linear])
def test_per_stage_the_stage_unfrozen_last_begins_at_1_and_ends_near_0(shape):
    schedule, steps, start = Schedule(shape, 0.0, "per_stage"), 1000, 900
    factors = [schedule.factor(start, steps, step) for step in range(start, steps)]
    assert factors[0] == 1.0
    assert 0 <= factors[-1] <= 0.011
    assert factors == sorted(factors, reverse=True)


def test_on_the_global_clock_the_stage_unfrozen_last_joins_the_rate_of_all():
    schedule, steps, start = Schedule(cosine, 0.0, "global"), 1000, 900
    for step in range(start, steps):
        assert schedule.factor(start, steps, step) == schedule.factor(0, steps, step)
    # the sliver for which the stage clock is the default
    assert schedule.factor(start, steps, start) < 0.03


@pytest.mark.parametrize("clock", ["per_stage", "global"])
def test_a_group_has_rate_0_before_it_first_trains_or_if_it_never_does(clock):
    schedule = Schedule(constant, 0.0, clock)
    assert [schedule.factor(3, 6, step) for step in range(6)] == [0, 0, 0, 1, 1, 1]
    assert [schedule.factor(None, 6, step) for step in range(6)] == [0] * 6


@pytest.mark.parametrize("start", [0, 20])
def test_warmup_rises_in_equal_steps_and_then_follows_the_shape_over_what_is_left(start):
    schedule, clock = Schedule(cosine, 0.25, "per_stage"), 40
    factors = [schedule.factor(start, start + clock, step) for step in range(start, start + clock)]
    rise = factors[1] - factors[0]
    # the first step moves, and the rise meets the full rate at the end of the warm-up
    assert [factor / rise for factor in factors[:11]] == pytest.approx(range(1, 12))
    assert factors[10] == 1.0
    for step in range(10, clock):
        assert factors[step] == pytest.approx(0.5 * (1 + cos(pi * (step - 10) / 30)), abs=1e-12)


def equation_3(step, steps, cut_frac, ratio):
    """Of Howard & Ruder 2018, with the highest rate 1."""
    cut = floor(steps * cut_frac)
    p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / cut_frac - 1))
    return (1 + p * (ratio - 1)) / ratio


@pytest.mark.parametrize(("steps", "cut_frac"), [(20, 0.1), (400, 0.1), (64, 0.25), (10, 0.5)])
@pytest.mark.parametrize("ratio", [32, 1, 2.5])
@pytest.mark.parametrize("start", [0, 7])
def test_slanted_triangular_is_the_papers_equation_on_the_clock_of_its_stage(steps, cut_frac, ratio, start):
    schedule = Schedule(partial(slanted_triangular, cut_frac=cut_frac, ratio=ratio), 0.0, "per_stage")
    found = [schedule.factor(start, start + steps, start + step) for step in range(steps)]
    assert found == pytest.approx([equation_3(step, steps, cut_frac, ratio) for step in range(steps)], rel=1e-12)


def test_where_the_paper_turns_at_a_whole_step_it_differs_by_less_than_a_step_of_the_rise():
    steps, cut_frac, ratio = 97, 0.13, 32  # the turn is at 12.61
    found = [slanted_triangular(step / steps, cut_frac=cut_frac, ratio=ratio) for step in range(steps)]
    for step, factor in enumerate(found):
        assert abs(factor - equation_3(step, steps, cut_frac, ratio)) < 1 / 12


@pytest.mark.parametrize(("cut_frac", "ratio"), [(0, 32), (1, 32), (-0.1, 32), (0.1, 0.5)])
def test_a_triangle_that_is_none_is_refused_when_the_schedule_is_built(cut_frac, ratio):
    with pytest.raises(InputError, match=r"scheduler\.shape\.(cut_frac|ratio)="):
        Schedule(partial(slanted_triangular, cut_frac=cut_frac, ratio=ratio), 0.0, "per_stage")


def test_the_factor_stays_between_0_and_1_even_past_the_end():
    for shape in (cosine, linear, constant, partial(slanted_triangular, cut_frac=0.1, ratio=32)):
        for warmup in (0.0, 0.3, 0.9):
            for start in (0, 3, 9, 2.5):
                schedule = Schedule(shape, warmup, "per_stage")
                factors = [schedule.factor(start, 10, step) for step in range(13)]
                assert all(0 <= factor <= 1 for factor in factors)


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 5])
def test_a_warmup_that_is_no_share_raises(warmup):
    with pytest.raises(InputError, match=r"scheduler\.warmup=.*\[0, 1\)"):
        Schedule(cosine, warmup, "global")


def test_an_unknown_clock_raises():
    with pytest.raises(InputError, match=r"scheduler\.clock=stage: 'per_stage' or 'global'"):
        Schedule(cosine, 0.0, "stage")


def test_the_rate_is_what_the_partial_optimiser_was_given():
    assert learning_rate(partial(torch.optim.SGD, lr=0.3, momentum=0.9)) == 0.3
    assert learning_rate(partial(torch.optim.SGD, lr=1)) == 1.0


@pytest.mark.parametrize("build", [torch.optim.SGD, partial(torch.optim.Adam), partial(torch.optim.SGD, lr="fast")])
def test_an_optimiser_without_a_rate_raises(build):
    with pytest.raises(InputError, match=r"optimizer\.lr"):
        learning_rate(build)
