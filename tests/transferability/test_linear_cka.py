"""Linear CKA against its definition by Gram matrices, in loops."""

from dataclasses import replace

import numpy as np
import pytest
from candidates import drawn, rotation
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.transferability.cka import linear_cka


def hsic(k, l):  # noqa: E741
    n = len(k)
    centre = np.eye(n) - 1 / n
    return np.trace(k @ centre @ l @ centre)


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(4, 20), size=st.integers(1, 40), seed=st.integers(0, 999))
def test_it_is_the_alignment_of_centred_gram_matrices(samples, size, seed):
    one = drawn(samples, size=size, seed=seed)
    k, l = one.features @ one.features.T, one.reference @ one.reference.T  # noqa: E741
    assert linear_cka(one) == pytest.approx(hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l)), rel=1e-7)


@pytest.mark.parametrize("size", [3, 60])
def test_a_rotation_a_scale_and_an_offset_leave_1(size):
    one = drawn(size=size)
    assert linear_cka(replace(one, reference=5 * one.features @ rotation(size) + 3)) == pytest.approx(1)


def test_it_is_symmetric():
    one = drawn()
    other = replace(one, features=one.reference, reference=one.features, source_features=None, source_labels=None)
    assert linear_cka(other) == pytest.approx(linear_cka(one))


def test_representations_without_anything_in_common_are_at_0():
    x = np.array([[1.0, 0], [-1, 0], [0, 0], [0, 0]])
    y = np.array([[0.0], [0], [1], [-1]])
    one = replace(drawn(4, size=2, source=3), features=x, reference=y)
    assert linear_cka(one) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("part", ["features", "reference"])
def test_what_does_not_vary_is_a_sentence(part):
    one = drawn()
    with pytest.raises(InputError, match=f"the {part} do not"):
        linear_cka(replace(one, **{part: np.ones_like(getattr(one, part))}))
