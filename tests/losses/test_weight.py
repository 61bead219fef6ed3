from math import tanh

import pytest

from transferlab.errors import InputError
from transferlab.losses.weight import decay, delayed, ramp, warmup

PROGRESS = [0.0, 0.05, 0.1, 0.25, 0.5, 0.9, 0.999]


@pytest.mark.parametrize("progress", PROGRESS)
@pytest.mark.parametrize(("high", "gamma"), [(1.0, 10.0), (0.3, 5.0)])
def test_ramp_is_the_sigmoid_of_dann(progress, high, gamma):
    # 2 / (1 + exp(-z)) - 1 = tanh(z / 2)
    assert ramp(progress, high=high, gamma=gamma) == pytest.approx(high * tanh(gamma * progress / 2), abs=1e-12)


def test_ramp_has_the_values_of_the_papers_curve():
    # Ganin et al. 2016, gamma = 10: 0 at the start, 0.9866 half way, 0.9999 at the end
    values = [ramp(progress, high=1.0, gamma=10.0) for progress in (0.0, 0.5, 1.0)]
    assert values == pytest.approx([0.0, 0.9866, 0.9999], abs=5e-5)


@pytest.mark.parametrize("progress", PROGRESS)
def test_warmup_rises_in_a_straight_line_and_then_stays(progress):
    assert warmup(progress, high=0.6, share=0.25) == pytest.approx(0.6 * min(progress / 0.25, 1), abs=1e-12)


def test_warmup_over_no_share_is_high_from_the_start():
    assert [warmup(progress, high=0.6, share=0.0) for progress in PROGRESS] == [0.6] * len(PROGRESS)


@pytest.mark.parametrize("progress", PROGRESS)
def test_decay_falls_in_a_straight_line_to_zero(progress):
    assert decay(progress, high=2.0) == pytest.approx(2.0 - 2.0 * progress, abs=1e-12)


def test_delayed_is_0_then_rises_in_a_straight_line_and_then_stays():
    # Lee 2013: 0 up to T1 = 100, (t - T1) / (T2 - T1) * alpha up to T2 = 600, then alpha = 3
    values = [delayed(t / 1000, high=3.0, start=0.1, end=0.6) for t in (0, 50, 100, 225, 350, 600, 999)]
    assert values == pytest.approx([0, 0, 0, 0.75, 1.5, 3, 3])
    assert [delayed(progress, high=2.0, start=0.5, end=0.5) for progress in (0.49, 0.5)] == [0.0, 2.0]


@pytest.mark.parametrize(("start", "end"), [(0.6, 0.1), (-0.1, 0.5), (0.5, 1.5)])
def test_delayed_takes_shares_in_their_order(start, end):
    with pytest.raises(InputError, match=rf"from start={start} to end={end}"):
        delayed(0.5, high=1.0, start=start, end=end)
