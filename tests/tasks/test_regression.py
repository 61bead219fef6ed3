from math import isnan, sqrt

import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch import nn
from torch.nn import functional as F

from transferlab.backbones.small import mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.tasks.regression import Regression

NAN = float("nan")
GENERATOR = torch.Generator().manual_seed(0)
WHOLE = torch.tensor([3000.0, -0.2]) + torch.tensor([10.0, 0.001]) * torch.randn(40, 2, generator=GENERATOR)
MISSING = torch.rand(40, 2, generator=GENERATOR) < 0.3
Y = WHOLE.masked_fill(MISSING, NAN)
GUESSES = WHOLE + torch.tensor([5.0, 0.0005]) * torch.randn(40, 2, generator=GENERATOR)
BACKBONE, EXAMPLE = mlp(ArrayInput.of(4), [5]), torch.ones(2, 4)


def fitted(y=Y, loss="squared"):
    task = Regression(nn.Linear, "r2", loss)
    task.fit(y, y.shape[1] if y.ndim == 2 else 1)
    return task


def scores(task, outputs, y):
    metrics = task.metrics(0)
    for part in (slice(0, 11), slice(11, None)):
        metrics.update(*task.scored(outputs[part], y[part]))
    return {name: float(value) for name, value in metrics.compute().items()}


@pytest.mark.parametrize(
    ("loss", "torchs"), [("squared", F.mse_loss), ("absolute", F.l1_loss), ("huber", F.huber_loss)]
)
def test_the_loss_is_torchs_on_targets_in_deviations(loss, torchs):
    deviation = WHOLE.std(0, correction=0)
    expected = torchs(GUESSES / deviation, WHOLE / deviation)
    torch.testing.assert_close(fitted(WHOLE, loss).loss(GUESSES, WHOLE), expected)


@pytest.mark.parametrize("loss", ["squared", "absolute", "huber"])
def test_a_missing_target_enters_neither_loss_nor_gradient(loss):
    task, outputs = fitted(loss=loss), GUESSES.clone().requires_grad_()
    losses = torch.stack(
        [task.loss(GUESSES[[i]], WHOLE[[i]].masked_fill(torch.tensor([[False, True]]), NAN)) for i in range(40)]
    )
    first_alone = Y.clone()
    first_alone[:, 1] = NAN
    known = ~MISSING[:, 0]
    torch.testing.assert_close(task.loss(GUESSES, first_alone), losses[known].mean())
    task.loss(outputs, Y).backward()
    assert outputs.grad[MISSING].eq(0).all() and outputs.grad[~MISSING].ne(0).all()


def test_a_batch_without_a_known_target_has_no_loss_and_no_gradient():
    outputs = GUESSES.clone().requires_grad_()
    loss = fitted().loss(outputs, torch.full_like(Y, NAN))
    loss.backward()
    assert loss == 0 and outputs.grad.eq(0).all()


def test_a_head_that_knows_nothing_predicts_the_mean_of_the_known_training_targets():
    head = fitted().build_head(BACKBONE, 2, EXAMPLE)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(head(torch.randn(3, 5)), Y.nanmean(0).expand(3, 2))


def test_the_heads_outputs_are_in_the_targets_unit_wherever_its_state_is_loaded():
    head, other = (fitted(y).build_head(BACKBONE, 2, EXAMPLE) for y in (Y, 7 * Y))
    x = torch.randn(3, 5)
    assert not torch.allclose(head(x), other(x))
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other(x), head(x))


def test_the_course_of_training_does_not_depend_on_the_unit():
    weights = []
    for unit in (1.0, 1e5):
        torch.manual_seed(0)
        task = fitted(unit * Y)
        head = task.build_head(BACKBONE, 2, EXAMPLE)
        optimizer = torch.optim.SGD(head.parameters(), 0.1)
        for _ in range(5):
            optimizer.zero_grad()
            task.loss(head(torch.ones(40, 5)), unit * Y).backward()
            optimizer.step()
        weights.append(head.head.weight.detach())
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_metrics_are_sklearns_over_the_known_targets_averaged_over_the_outputs(shift):
    known = [~MISSING[:, output] for output in range(2)]
    y, guesses = Y + shift * torch.tensor([1.0, 0.0]), GUESSES + shift * torch.tensor([1.0, 0.0])

    def mean(score):
        return sum(score(y[k, o].double(), guesses[k, o].double()) for o, k in enumerate(known)) / 2

    assert scores(fitted(y), guesses, y) == pytest.approx(
        {
            "mean_absolute_error": mean(mean_absolute_error),
            "root_mean_squared_error": mean(lambda a, b: sqrt(mean_squared_error(a, b))),
            "r2": mean(r2_score),
        },
        rel=1e-3,
    )


def test_an_output_that_is_never_known_in_a_split_is_left_out_of_the_mean():
    y = Y.clone()
    y[:, 1] = NAN
    alone = scores(fitted(Y[:, :1]), GUESSES[:, :1], Y[:, :1])
    assert scores(fitted(), GUESSES, y) == pytest.approx(alone)


def test_one_known_target_has_an_error_but_no_variance_to_explain():
    task = fitted(WHOLE[:, 0])
    metrics = task.metrics(1)
    metrics.update(*task.scored(GUESSES[:1, :1], WHOLE[:1, 0]))
    said = {name: float(value) for name, value in metrics.compute().items()}
    assert said["mean_absolute_error"] == pytest.approx(float((GUESSES - WHOLE)[0, 0].abs()), rel=1e-3)
    assert isnan(said["r2"])


def test_one_number_a_sample_may_come_without_a_second_dimension():
    flat, column = fitted(WHOLE[:, 0]), fitted(WHOLE[:, :1])
    torch.testing.assert_close(flat.loss(GUESSES[:, :1], WHOLE[:, 0]), column.loss(GUESSES[:, :1], WHOLE[:, :1]))
    assert scores(flat, GUESSES[:, :1], WHOLE[:, 0]) == scores(column, GUESSES[:, :1], WHOLE[:, :1])


def test_class_numbers_are_numbers_too():
    task = Regression(nn.Linear, "r2", "squared")
    task.fit(torch.tensor([0, 1, 2, 9]), 10)
    assert task.build_head(BACKBONE, 10, EXAMPLE)(torch.randn(2, 5)).shape == (2, 1)


def test_targets_that_are_all_alike_are_not_divided_by_0():
    task = fitted(torch.full((5, 1), 7.0))
    assert task.loss(torch.full((5, 1), 9.0), torch.full((5, 1), 7.0)) == 4


def test_an_output_without_a_known_training_target_is_refused():
    with pytest.raises(InputError, match="output 1 has no known target among 3 training samples"):
        fitted(torch.tensor([[1.0, NAN]] * 3))


def test_another_loss_is_refused():
    with pytest.raises(InputError, match=r"no task.loss 'square'; did you mean 'squared'"):
        Regression(nn.Linear, "r2", "square")


def test_labels_of_images_are_refused():
    with pytest.raises(InputError, match=r"shape \(2, 3, 3\)"):
        fitted(torch.zeros(2, 3, 3))
