import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.tasks.heads import cosine, decoder, dot, mlp


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_the_classic_head_is_linear_relu_linear_with_1024_units():
    head = mlp(5, 3, widths=[1024], dropout=0.0).eval()
    first, last = (module for module in head if isinstance(module, nn.Linear))
    assert (first.weight.shape, last.weight.shape) == ((1024, 5), (3, 1024))
    x = torch.randn(4, 5)
    torch.testing.assert_close(head(x), (x @ first.weight.T + first.bias).relu() @ last.weight.T + last.bias)


def test_a_head_without_hidden_layers_is_linear():
    head = mlp(5, 3, widths=[], dropout=0.0)
    assert sum(p.numel() for p in head.parameters()) == 5 * 3 + 3
    x = torch.randn(4, 5)
    torch.testing.assert_close(head(2 * x) - head(x), head(x) - head(0 * x))


def test_dropout_acts_in_training_alone():
    head, x = mlp(5, 3, widths=[64], dropout=0.5), torch.randn(4, 5)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))


def test_the_cosine_head_gives_scaled_cosines_whatever_the_lengths():
    head, x = cosine(5, 3, scale=10.0, learned=True), torch.randn(4, 5)
    expected = 10 * F.cosine_similarity(x[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(x), expected)
    torch.testing.assert_close(head(7 * x), expected)
    assert head(torch.zeros(1, 5)).eq(0).all()


@pytest.mark.parametrize(("learned", "names"), [(True, {"weight", "scale"}), (False, {"weight"})])
def test_the_scale_trains_only_if_it_is_learned_and_is_saved_either_way(learned, names):
    head = cosine(5, 3, scale=2.0, learned=learned)
    assert {name for name, _ in head.named_parameters()} == names
    assert set(head.state_dict()) == {"weight", "scale"}


def test_the_dot_head_is_a_product_and_a_bias_of_each_side():
    head = dot(6, 1)
    user, item = torch.randn(4, 3), torch.randn(4, 3)
    of_user, of_item = head.bias.weight[0].split(3)
    expected = [float(u @ i + of_user @ u + of_item @ i + head.bias.bias[0]) for u, i in zip(user, item, strict=True)]
    torch.testing.assert_close(head(torch.cat([user, item], 1))[:, 0], torch.tensor(expected))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (1, 28, 28), (2, 1, 1)])
@pytest.mark.parametrize("widths", [[6, 4], [4], []])
def test_a_decoder_for_images_gives_their_shape(shape, widths):
    assert decoder(5, shape, widths=widths)(torch.randn(2, 5)).shape == (2, *shape)


def test_a_decoder_for_tables_gives_their_columns():
    assert decoder(5, (9,), widths=[6])(torch.randn(2, 5)).shape == (2, 9)


def test_every_pixel_of_a_rebuilt_image_depends_on_the_features():
    head, x = decoder(5, (1, 7, 5), widths=[6, 4]), torch.randn(1, 5)
    assert (head(x) != head(x + 1)).all()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: mlp(5, 3, widths=[0], dropout=0.0), r"task.head.widths=\[0\]"),
        (lambda: mlp(5, 3, widths=[4], dropout=1.0), "task.head.dropout=1.0"),
        (lambda: cosine(5, 3, scale=0.0, learned=True), "task.head.scale=0.0"),
        (lambda: dot(6, 10), "10 outputs"),
        (lambda: dot(5, 1), "two halves"),
        (lambda: decoder(5, (1, 8, 8), widths=[-1]), "widths"),
    ],
)
def test_what_makes_no_head_is_said(build, said):
    with pytest.raises(InputError, match=said):
        build()
