"""Drift is the norm of the difference of all parameters of a stage as one vector."""

import pytest
import torch

from transferlab.diagnostics.drift import drift


def test_it_is_the_norm_of_the_whole_difference() -> None:
    draws = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=draws) for shape in ((3, 4), (4,), ())]
    now = [w + torch.randn(w.shape, generator=draws) for w in start]
    as_one = torch.cat([(a - b).flatten() for a, b in zip(now, start, strict=True)])
    assert drift(now, start) == pytest.approx(float(torch.linalg.norm(as_one)), rel=1e-6)


def test_what_has_not_moved_has_no_drift() -> None:
    start = [torch.ones(3), torch.zeros(2)]
    assert drift([w.clone() for w in start], start) == 0
