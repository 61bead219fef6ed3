import pytest
import torch

from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.series import SeriesInput, channels_of
from transferlab.values import Seq


def series(normalise):
    return SeriesInput(2, None, "resample", normalise)


def batch():
    torch.manual_seed(0)
    lengths = torch.tensor([6, 3, 1])
    return Seq(5 + 3 * torch.randn(3, 6, 2), torch.arange(6) < lengths[:, None])


def test_each_channel_of_each_series_has_mean_0_and_deviation_1_over_its_real_steps():
    given = series("per_series").normalised(batch())
    for h, mask in zip(given.h[:2], given.mask[:2], strict=True):
        torch.testing.assert_close(h[mask].mean(0), torch.zeros(2), rtol=0, atol=1e-6)
        torch.testing.assert_close(h[mask].std(0, correction=0), torch.ones(2))


def test_padding_has_no_influence_on_what_is_normalised_and_is_zero():
    given = batch()
    alone = series("per_series").normalised(Seq(given.h[1:2, :3], given.mask[1:2, :3]))
    both = series("per_series").normalised(given)
    torch.testing.assert_close(both.h[1, :3], alone.h[0])
    assert (both.h[~both.mask] == 0).all()
    assert (series("none").normalised(given).h[~given.mask] == 0).all()


def test_a_channel_that_never_changes_becomes_zero():
    given = batch()
    given.h[0, :, 1] = 7.25
    assert (series("per_series").normalised(given).h[0, :, 1] == 0).all()
    assert (series("per_series").normalised(given).h[2] == 0).all()  # nor does a series of one step


def test_without_normalising_real_steps_are_as_they_were():
    given = batch()
    assert torch.equal(series("none").normalised(given).h[given.mask], given.h[given.mask])
    whole = Seq(torch.arange(12).reshape(1, 6, 2), given.mask[:1])
    assert series("none").normalised(whole).h.dtype == torch.float32


@pytest.mark.parametrize("length", [None, 5, 500])
def test_examples_are_padded_series_and_the_same_at_every_call(length):
    given = SeriesInput(3, length, "resample", "none")
    first, again = given.example(4), given.example(4)
    assert torch.equal(first.h, again.h) and torch.equal(first.mask, again.mask)
    assert first.h.shape == (4, min(32, length or 32), 3)
    assert first.mask.any(1).all() and not first.mask.all()
    assert (first.h[~first.mask] == 0).all()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((0, None, "crop", "none"), "backbone.input.channels=0: at least 1"),
        ((1, 0, "crop", "none"), "backbone.input.length=0: at least 1"),
        ((1, 8, "stretch", "none"), r"no backbone.input.fit 'stretch'.*resample, crop"),
        ((1, 8, "crop", "per_batch"), r"no backbone.input.normalise 'per_batch'.*none, per_series"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(values, sentence):
    with pytest.raises(InputError, match=sentence):
        SeriesInput(*values)


def test_a_net_for_frames_asks_for_channels():
    assert channels_of(series("none"), "lstm") == 2
    with pytest.raises(InputError, match="backbone 'lstm' takes series, its input gives images"):
        channels_of(ArrayInput.of(1, 8, 8), "lstm")
