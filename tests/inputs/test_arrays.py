import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.base import expect

IMAGENET = ((3, 8, 8), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def pixels(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("shape", "mean", "std"), [IMAGENET, ((1, 8, 8), [0.5], [0.25]), ((3, 8, 8), [0.5], [0.25])], ids=str
)
def test_images_are_normalised_as_torchvision_would(shape, mean, std):
    x = pixels(5, *shape)
    given = x.clone()
    found = ArrayInput(shape, mean, std, "bilinear", None).normalised(x)
    assert found.dtype == torch.float32
    repeated = [values * (shape[0] // len(values)) for values in (mean, std)]
    torch.testing.assert_close(found, transforms.normalize(x / 255, *repeated))
    assert torch.equal(x, given)


def test_flattened_images_are_normalised_as_images_are():
    x = pixels(5, 1, 8, 8)
    flat = ArrayInput((64,), [0.5], [0.25], "bilinear", None).normalised(x.flatten(1))
    torch.testing.assert_close(flat, ArrayInput((1, 8, 8), [0.5], [0.25], "bilinear", None).normalised(x).flatten(1))


def test_tables_are_normalised_by_a_number_each_feature():
    x = torch.randn(6, 3)
    found = ArrayInput((3,), [1.0, 2.0, 3.0], [4.0, 5.0, 6.0], "bilinear", None).normalised(x)
    torch.testing.assert_close(found, (x - torch.tensor([1.0, 2.0, 3.0])) / torch.tensor([4.0, 5.0, 6.0]))


def test_without_a_mean_bytes_are_scaled_and_numbers_pass_unchanged():
    x, table = pixels(5, 1, 8, 8), torch.randn(5, 7)
    torch.testing.assert_close(ArrayInput.of(1, 8, 8).normalised(x), x / 255)
    assert torch.equal(ArrayInput.of(7).normalised(table), table)


@pytest.mark.parametrize("mean", [None, [0.5]])
def test_a_batch_that_was_given_stays_as_it_was(mean):
    x = torch.randn(5, 7)
    before = x.clone()
    ArrayInput((7,), mean, mean, "bilinear", None).normalised(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("shape", "kind"), [((3, 8, 8), "images"), ((7,), "tables")])
def test_its_kind_is_said_by_its_shape(shape, kind):
    assert ArrayInput.of(*shape).kind == kind


@pytest.mark.parametrize("shape", [(7,), (1, 28, 28), (3, 16, 48)], ids=str)
def test_an_example_has_the_shape_and_is_the_same_at_every_call(shape):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again = ArrayInput.of(*shape).example(3), ArrayInput.of(*shape).example(3)
    assert first.shape == (3, *shape)
    assert torch.equal(first, again)
    assert first.std() > 0.1
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("shape", "mean", "std", "interpolation", "sentence"),
    [
        (
            (3, 8, 8),
            [0.5, 0.5],
            [0.5],
            "bilinear",
            r"backbone\.input\.mean=\[0\.5, 0\.5\] has 2 numbers for 3 channels",
        ),
        ((1, 8, 8), [0.5], [0.5] * 3, "bilinear", r"backbone\.input\.std=.* has 3 numbers for 1 channels"),
        ((1, 8, 8), [0.5], None, "bilinear", r"mean and backbone\.input\.std belong together"),
        ((1, 8, 8), None, [0.5], "bilinear", r"mean and backbone\.input\.std belong together"),
        ((1, 8, 8), None, None, "lanczos", r"backbone\.input\.interpolation=lanczos: bilinear, bicubic or nearest"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused_with_their_key(shape, mean, std, interpolation, sentence):
    with pytest.raises(InputError, match=sentence):
        ArrayInput(shape, mean, std, interpolation, None)


class Texts:
    kind = "texts"

    def normalised(self, x):
        return x

    def example(self, count):
        return torch.zeros(count, 3).long()


def test_an_input_of_the_kind_that_is_expected_passes_and_another_is_refused_with_the_remedy():
    images = ArrayInput.of(1, 8, 8)
    assert expect(images, ArrayInput, "images", "choose backbone=convnet") is images
    with pytest.raises(InputError, match=r"the backbone takes images, the data are texts: choose backbone=bert"):
        expect(images, Texts, "texts", "choose backbone=bert")
